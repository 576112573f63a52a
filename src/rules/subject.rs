//! Subject templates.

use super::condition::Path;
use crate::model::event::Event;

#[derive(Clone, Debug)]
pub struct Subject(Vec<(String, Option<Path>)>);

#[derive(Debug)]
pub struct SubjectError;

impl Subject {
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let mut parts = Vec::new();
        for part in text.split('{') {
            match part.split_once('}') {
                None => parts.push((part.to_owned(), None)),
                Some((path, rest)) => {
                    parts.push((String::new(), Some(Path::parse(path).map_err(|_| SubjectError)?)));
                    parts.push((rest.to_owned(), None));
                }
            }
        }
        Ok(Self(parts))
    }

    #[must_use]
    pub fn render(&self, event: &Event) -> String {
        self.0
            .iter()
            .map(|(text, path)| path.as_ref().map_or_else(|| text.clone(), |p| p.get(event).display().into_owned()))
            .collect()
    }
}
