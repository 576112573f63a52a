//! Look-up lists: rules/lists/NAME.txt|csv.
