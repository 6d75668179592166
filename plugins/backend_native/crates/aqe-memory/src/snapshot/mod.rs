//! A store as a file: a cache of what the vectors say, never trusted.
//!
//! All numbers are little-endian. The file is a header of [`PAGE`] bytes and [`SECTIONS`] sections, each filled up
//! with zeros to a multiple of [`PAGE`], so that it can be mapped:
//!
//! | bytes of the header | |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | [`VERSION`] |
//! | 12..24 | dimensions (u32); metric, keep, index, whether the mean is not learned for good (u8 each); tuning: margin (f32) |
//! | 24..40 | seed (u64), recall wanted (f64) |
//! | 40..80 | numbers of rows, lists, segments of the tail, slots in both, blocks of slots (u64 each) |
//! | 80..112 | tuning: probes, refine (u64), recall (f64), measured on (u64) |
//! | 112..144 | lists: learned on (u64), error, merged error (f64), merged (u64) |
//! | 144..160 | the graph: rows of its upper levels, each once for each level; the row where searches begin (u64 each) |
//! | 160..168 | lists: up to which ratio a row stands in a second one (f64) |
//! | 168..304 | the XXH3 of each section with its filling |
//! | 4088..4096 | the XXH3 of everything before |
//!
//! How long the sections are follows from the counts, and the file is as long as they say, or it is refused before
//! memory is taken. Each section is compared with its checksum before a value of it is used, and then with the others,
//! so that even a forged file cannot make a store that fails later.

mod header;
mod load;
mod save;
mod sections;

use std::fmt;
use std::io;

pub(crate) use sections::{Section, Writer};

/// The first bytes of a file; the first one is in no text, so that a transfer as text is noticed.
pub const MAGIC: [u8; 8] = *b"\x89AQESNAP";

/// Of this layout. Another version is refused, and the store built anew.
pub const VERSION: u32 = 6;

/// Sections begin at multiples of it, as pages of memory do.
pub const PAGE: usize = 4096;

/// How many there are.
pub const SECTIONS: usize = 17;

/// The sections, in their order in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Mean,
    Keys,
    Places,
    Scales,
    HalfSquares,
    UpperPlane,
    OtherPlanes,
    Originals,
    /// And the radii of the lists.
    CentreScales,
    CentreBytes,
    Lengths,
    Slots,
    Factors,
    Codes,
    Halves,
    Links,
    UpperLinks,
}

/// Why a store could not be saved or loaded.
#[derive(Debug)]
pub enum Error {
    /// The system says so.
    Io(io::Error),
    /// The file is not what a store has written.
    Damaged(String),
    /// A store of another kind has written it: what differs, its value there and here.
    Foreign(&'static str, String, String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Damaged("it ends too early".into()),
            _ => Error::Io(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(out, "{error}"),
            Error::Damaged(why) => write!(out, "{why}"),
            Error::Foreign(what, there, here) => {
                write!(out, "its {what} is {there}, not {here}")
            }
        }
    }
}

impl std::error::Error for Error {}

pub(crate) fn damaged<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Damaged(why.into()))
}

/// Make all checksums of a changed file right again, as far as its header can be read: what a forger would do.
#[cfg(any(test, fuzzing))]
pub fn reseal(bytes: &mut [u8]) {
    use xxhash_rust::xxh3::xxh3_64;
    if bytes.len() < PAGE {
        return;
    }
    let own = xxh3_64(&bytes[..PAGE - 8]);
    bytes[PAGE - 8..PAGE].copy_from_slice(&own.to_le_bytes());
    let Ok(mut header) = header::Header::parse(&bytes[..PAGE]) else {
        return;
    };
    let offsets = header.offsets();
    if offsets[SECTIONS] != bytes.len() as u64 {
        return;
    }
    for (i, hash) in header.hashes.iter_mut().enumerate() {
        *hash = xxh3_64(&bytes[offsets[i] as usize..offsets[i + 1] as usize]);
    }
    bytes[..PAGE].copy_from_slice(&header.to_bytes());
}

#[cfg(test)]
mod tests;
