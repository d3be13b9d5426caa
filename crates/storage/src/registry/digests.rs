//! Digests that stand anywhere in a JSON text.

use model::ContentDigest;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Every string of a JSON text, names of members too, that is a digest. Nothing else of it is held.
#[derive(Debug, Default)]
pub(super) struct Digests(pub(super) Vec<ContentDigest>);

impl<'de> Deserialize<'de> for Digests {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Digests;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Digests, E> {
        Ok(Digests(text.parse().into_iter().collect()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Digests, E> {
        Ok(Digests::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Digests, E> {
        Ok(Digests::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Digests, E> {
        Ok(Digests::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Digests, E> {
        Ok(Digests::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Digests, E> {
        Ok(Digests::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Digests, A::Error> {
        let mut found = Vec::new();
        while let Some(Digests(more)) = list.next_element()? {
            found.extend(more);
        }
        Ok(Digests(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digests, A::Error> {
        let mut found = Vec::new();
        while let Some((Digests(name), Digests(value))) = map.next_entry()? {
            found.extend(name);
            found.extend(value);
        }
        Ok(Digests(found))
    }
}
