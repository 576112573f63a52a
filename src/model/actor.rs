//! Who did something: as the kernel says, and as they say themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Over the control socket: the kernel vouches for user and process.
    Socket,
    /// A command that opened the store itself, while nothing ran.
    Direct,
    /// redflag itself.
    Service,
}

impl Via {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Direct => "direct",
            Self::Service => "service",
        }
    }
}

/// Who it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user's name where the machine knows one, else `uid N`.
    pub name: String,
    pub uid: Option<u32>,
    pub pid: Option<u32>,
    pub via: Via,
    /// Whom the command names (behind `sudo`, or where the kernel names nobody): nobody vouches for it.
    pub claims: Option<String>,
}

impl Actor {
    /// redflag, by itself.
    #[must_use]
    pub fn service() -> Self {
        Self { name: "redflag".to_owned(), uid: None, pid: None, via: Via::Service, claims: None }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claims {
            Some(claims) => write!(f, "{} (says: {claims})", self.name),
            None => f.write_str(&self.name),
        }
    }
}
