//! 7 · Messages become mails, chat posts and JSON: masked unless the channel is cleared, escaped by the channel's form (never by a file's name), with
//! strict variables and a fuel limit. A template that fails at send time is replaced by a plain built-in text: an alert is never lost to a template.

mod context;
mod json;
mod plain;
mod templates;
mod text;

pub use templates::{Files, Options, TemplateError, Templates};

#[cfg(test)]
mod tests;
