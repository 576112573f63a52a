//! How values lie in columns, and come back. An unreadable value is an error that names its kind and place, never its content.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde::de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer};
use uuid::Uuid;

use super::StoreError;
use crate::model::{hash::Digest, time::Timestamp, verdict::UndecidedKind};

/// Names the operation in which SQLite failed.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { operation, source }
}

/// As JSON text. What redflag keeps as JSON has text names only, so that this does not fail.
pub(super) fn json(operation: &'static str, value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused {
        operation,
        detail: format!("it can't be written as JSON ({:?})", error.classify()),
    })
}

/// Microseconds.
pub(super) struct At(pub Timestamp);

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        Timestamp::from_timestamp_micros(micros).map(Self).ok_or(FromSqlError::OutOfRange(micros))
    }
}

/// A 16-byte identity.
pub(super) struct Id(pub Uuid);

impl FromSql for Id {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Uuid::from_slice(value.as_blob()?).map(Self).map_err(|_| unreadable("an identity"))
    }
}

/// A 32-byte digest.
pub(super) struct Hash(pub Digest);

impl FromSql for Hash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?.try_into().map_err(|_| unreadable("a digest"))?;
        Ok(Self(Digest::from_bytes(bytes)))
    }
}

/// A count or a sequence.
pub(super) struct Whole(pub u64);

impl FromSql for Whole {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// One of our names.
pub(super) struct Named<T>(pub T);

impl<T: for<'a> From<&'a str>> FromSql for Named<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(|text| Self(T::from(text)))
    }
}

/// A variant by the word it serialises as.
pub(super) struct Word<T>(pub T);

impl<T: DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text: StrDeserializer<'_, serde::de::value::Error> = value.as_str()?.into_deserializer();
        T::deserialize(text).map(Self).map_err(|_| unreadable("a word"))
    }
}

/// Why a verdict is missing.
pub(super) struct Kind(pub UndecidedKind);

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        UndecidedKind::ALL.into_iter().find(|kind| kind.as_str() == text).map(Self).ok_or_else(|| unreadable("a word"))
    }
}

/// JSON text.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // serde_json's own message may quote the text.
        serde_json::from_str(value.as_str()?)
            .map(Self)
            .map_err(|error| unreadable(&format!("JSON (line {}, column {})", error.line(), error.column())))
    }
}

fn unreadable(what: &str) -> FromSqlError {
    FromSqlError::Other(format!("{what} can't be read back").into())
}
