//! A feed like the provider's, for the demo, tests and load.
