//! DNS messages (RFC 1035), as far as a forwarder has to understand them: the question of a query, and
//! the addresses in an answer.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Longest query that is taken. A name has 255 bytes at most; the rest is for EDNS.
pub(super) const MAX_QUERY: usize = 1024;
/// Least that a client takes in a datagram.
const MIN_DATAGRAM: usize = 512;
const HEADER: usize = 12;
/// Most labels or records of one message that are looked at.
const MAX_LABELS: usize = 128;
const MAX_RECORDS: usize = 128;

const INTERNET: u16 = 1;
pub(super) const TYPE_A: u16 = 1;
const TYPE_OPT: u16 = 41;

/// Response codes.
pub(super) const NO_ERROR: u8 = 0;
pub(super) const FORMAT_ERROR: u8 = 1;
pub(super) const SERVER_FAILURE: u8 = 2;
pub(super) const NAME_ERROR: u8 = 3;
pub(super) const NOT_IMPLEMENTED: u8 = 4;
pub(super) const REFUSED: u8 = 5;

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    bytes: Vec<u8>,
    /// Where the question ends.
    end: usize,
    /// In lower case, without a dot at its end. Bytes that no host name has are `?`.
    pub(super) name: String,
    /// What is asked for.
    pub(super) kind: u16,
    /// What a datagram to the asker may hold, in bytes.
    pub(super) datagram: usize,
}

impl Query {
    /// Reads one.
    ///
    /// # Errors
    /// What to answer, if anything.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let flags = number(bytes, 2).ok_or(None)?;
        if flags & 0x8000 != 0 || bytes.len() > MAX_QUERY {
            return Err(None);
        }
        let refused = |code| Some(reply(bytes, HEADER, code));
        if flags & 0x7800 != 0 {
            return Err(refused(NOT_IMPLEMENTED));
        }
        let malformed = || refused(FORMAT_ERROR);
        if number(bytes, 4) != Some(1) {
            return Err(malformed());
        }
        let (name, at) = read_name(bytes).ok_or_else(malformed)?;
        let kind = number(bytes, at).ok_or_else(malformed)?;
        if number(bytes, at + 2) != Some(INTERNET) {
            return Err(refused(REFUSED));
        }
        Ok(Self {
            datagram: datagram(bytes, at + 4),
            bytes: bytes.to_vec(),
            end: at + 4,
            name,
            kind,
        })
    }

    /// An answer without records.
    pub(super) fn reply(&self, code: u8) -> Vec<u8> {
        reply(&self.bytes, self.end, code)
    }

    /// The same question with another number, for somebody else.
    pub(super) fn numbered(&self, id: [u8; 2]) -> Vec<u8> {
        renumber(self.bytes.clone(), id)
    }

    /// Gives `answer` the number of this query, and if it does not fit a datagram, its head alone,
    /// marked as cut: the asker comes again over TCP.
    pub(super) fn fit(&self, answer: Vec<u8>, most: usize) -> Vec<u8> {
        if answer.len() <= most {
            return renumber(answer, self.id());
        }
        let mut cut = self.reply(answer.get(3).map_or(SERVER_FAILURE, |flags| flags & 0xf));
        if let Some(flags) = cut.get_mut(2) {
            *flags |= 0x02;
        }
        cut
    }

    fn id(&self) -> [u8; 2] {
        [self.bytes[0], self.bytes[1]]
    }

    /// Whether `answer` is one to [`Self::numbered`] with `id`.
    pub(super) fn is_answered_by(&self, answer: &[u8], id: [u8; 2]) -> bool {
        let question = |bytes: &[u8]| {
            let part = bytes.get(HEADER..self.end);
            part.map(<[u8]>::to_ascii_lowercase)
        };
        answer.starts_with(&id)
            && number(answer, 2).is_some_and(|flags| flags & 0x8000 != 0)
            && number(answer, 4) == Some(1)
            && question(answer) == question(&self.bytes)
    }

    /// The response code, and the IPv4 addresses with the time for which they may be kept.
    pub(super) fn addresses(&self, answer: &[u8]) -> Vec<(Ipv4Addr, Duration)> {
        let mut found = Vec::new();
        let mut at = self.end;
        let count = number(answer, 6).map_or(0, usize::from);
        for _ in 0..count.min(MAX_RECORDS) {
            let Some(record) = Record::read(answer, at) else {
                break;
            };
            if (record.kind, record.class) == (TYPE_A, INTERNET)
                && let Some(&[a, b, c, d]) = answer.get(record.data..record.end)
            {
                let time = Duration::from_secs(record.time.into());
                found.push((Ipv4Addr::new(a, b, c, d), time));
            }
            at = record.end;
        }
        found
    }
}

/// The response code of an answer.
pub(super) fn code(answer: &[u8]) -> u8 {
    answer.get(3).map_or(SERVER_FAILURE, |flags| flags & 0xf)
}

struct Record {
    kind: u16,
    class: u16,
    time: u32,
    data: usize,
    end: usize,
}

impl Record {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let at = skip_name(bytes, at)?;
        let high = number(bytes, at + 4)?;
        let low = number(bytes, at + 6)?;
        let length = number(bytes, at + 8)?;
        let data = at + 10;
        let end = data + usize::from(length);
        (end <= bytes.len()).then_some(Self {
            kind: number(bytes, at)?,
            class: number(bytes, at + 2)?,
            time: u32::from(high) << 16 | u32::from(low),
            data,
            end,
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    pair.try_into().ok().map(u16::from_be_bytes)
}

fn renumber(mut bytes: Vec<u8>, id: [u8; 2]) -> Vec<u8> {
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&id);
    }
    bytes
}

/// Header and question of `query` up to `end`, as an answer without records.
fn reply(query: &[u8], end: usize, code: u8) -> Vec<u8> {
    let mut reply = query.get(..end).unwrap_or(query).to_vec();
    reply.resize(end.max(HEADER), 0);
    // An answer; operation and "recursion desired" as asked; recursion is available.
    reply[2] = 0x80 | (reply[2] & 0x79);
    reply[3] = 0x80 | code;
    let questions = u8::from(end > HEADER);
    reply[4..HEADER].copy_from_slice(&[0, questions, 0, 0, 0, 0, 0, 0]);
    reply
}

/// The name of the question, and where it ends. A question has no earlier name to point to.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = HEADER;
    for _ in 0..MAX_LABELS {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return (at - HEADER <= 255).then_some((name, at));
        }
        if length > 63 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let label = bytes.get(at..at + length)?;
        name.extend(label.iter().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                char::from(byte.to_ascii_lowercase())
            }
            _ => '?',
        }));
        at += length;
    }
    None
}

/// Where a name of a record ends.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_LABELS {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some(at + 1),
            // A pointer to an earlier name ends it.
            192.. => return Some(at + 2),
            64.. => return None,
            _ => at += 1 + length,
        }
    }
    None
}

/// What EDNS (RFC 6891) says that a datagram may hold.
fn datagram(query: &[u8], at: usize) -> usize {
    let additional = number(query, 10) == Some(1) && query.get(at) == Some(&0);
    match number(query, at + 1) {
        Some(TYPE_OPT) if additional => number(query, at + 3)
            .map_or(MIN_DATAGRAM, usize::from)
            .max(MIN_DATAGRAM),
        _ => MIN_DATAGRAM,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// A query for `name`.
    pub(in super::super) fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        bytes
    }

    /// An answer to [`query`] with an alias and an address.
    fn answer(name: &str, address: [u8; 4]) -> Vec<u8> {
        let mut bytes = query(name, TYPE_A);
        bytes[2] = 0x81;
        bytes[7] = 2;
        bytes.extend([192, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'x', 192, 12]);
        bytes.extend([1, b'x', 192, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4]);
        bytes.extend(address);
        bytes
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let bytes = query("API.Example.com", TYPE_A);
        let query = Query::read(&bytes).unwrap();
        assert_eq!((query.name.as_str(), query.kind), ("api.example.com", 1));
        assert_eq!(query.datagram, 512);
        let reply = query.reply(NAME_ERROR);
        assert_eq!(&reply[..12], &[7, 9, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&reply[12..], &bytes[12..]);
        assert_eq!(code(&reply), NAME_ERROR);
        assert!(query.is_answered_by(&reply, [7, 9]));
        assert!(!query.is_answered_by(&reply, [7, 8]));
        assert!(!query.is_answered_by(&bytes, [7, 9]));
        let mut edns = bytes;
        edns[11] = 1;
        edns.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Query::read(&edns).unwrap().datagram, 1232);
    }

    #[test]
    fn addresses_are_found_behind_an_alias() {
        let query = Query::read(&query("a.com", TYPE_A)).unwrap();
        let answer = answer("a.com", [192, 0, 2, 1]);
        let found = query.addresses(&answer);
        assert_eq!(found, [([192, 0, 2, 1].into(), Duration::from_secs(256))]);
        for end in 0..answer.len() {
            assert!(query.addresses(&answer[..end]).is_empty(), "{end}");
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        let query = Query::read(&query("a.com", TYPE_A)).unwrap();
        let answer = renumber(answer("a.com", [192, 0, 2, 1]), [1, 1]);
        let whole = query.fit(answer.clone(), answer.len());
        assert_eq!((&whole[..2], &whole[2..]), (&[7, 9][..], &answer[2..]));
        let cut = query.fit(answer, 40);
        assert!(cut.len() <= 40 && cut[2] & 0x02 != 0 && cut[7] == 0);
    }

    #[test]
    fn what_is_no_query_gets_an_error_or_nothing() {
        assert_eq!(Query::read(&[1, 2, 3]), Err(None));
        let mut response = query("a.com", 1);
        response[2] |= 0x80;
        assert_eq!(Query::read(&response), Err(None));
        for (at, byte, code) in [
            (2, 0x28, 4),
            (5, 2, 1),
            (12, 64, 1),
            (12, 200, 1),
            (22, 3, 5),
        ] {
            let mut bytes = query("a.com", 1);
            bytes[at] = byte;
            let reply = Query::read(&bytes).unwrap_err().unwrap();
            assert_eq!((reply[3] & 0xf, reply.len()), (code, 12), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>, answer: Vec<u8>, most in 0..2000_usize) {
            if let Ok(query) = Query::read(&bytes) {
                query.addresses(&answer);
                query.is_answered_by(&answer, [0, 0]);
                prop_assert!(query.name.bytes().all(|b| b.is_ascii_graphic()));
                query.fit(answer, most);
            }
        }

        #[test]
        fn no_change_of_a_message_does_harm(at in 0..60_usize, byte: u8, cut in 0..60_usize) {
            let mut bytes = answer("api.example.com", [192, 0, 2, 1]);
            if let Some(place) = bytes.get_mut(at) { *place = byte; }
            bytes.truncate(bytes.len() - cut);
            let query = Query::read(&query("api.example.com", TYPE_A)).unwrap();
            prop_assert!(query.addresses(&bytes).len() <= 2);
            let _ = Query::read(&bytes);
        }
    }
}
