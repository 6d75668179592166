//! The first page of a snapshot.

use xxhash_rust::xxh3::xxh3_64;

use super::{Error, MAGIC, PAGE, SECTIONS, VERSION, damaged};
use crate::hnsw::{M, M0};
use crate::kernels::BLOCK;
use crate::planes::GROUP;
use crate::state::{SHORT, Tuning};
use crate::{Index, Keep, Metric, Options};

const HASHES: usize = 168;
const OWN_HASH: usize = PAGE - 8;

/// More of anything is not believed; sums and products of such numbers do not overflow.
const MANY: u64 = 1 << 40;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];
const KEEPS: [Keep; 3] = [Keep::Planes, Keep::Float16, Keep::Float32];
const INDEXES: [Index; 4] = [Index::Auto, Index::Flat, Index::Lists, Index::Hnsw];

/// What is kept of the rows of a store with these options.
pub(crate) fn kept(options: &Options) -> Keep {
    if options.dim < SHORT {
        Keep::Float32
    } else {
        options.keep
    }
}

/// The graph in a snapshot. A store has one, or no lists; without one both numbers are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Vertices {
    /// Rows of the upper levels, each once for each level.
    pub upper: u64,
    /// One more than the row where searches begin.
    pub entry: u64,
}

/// How many there are of what a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub rows: u64,
    pub lists: u64,
    pub segments: u64,
    pub slots: u64,
    pub blocks: u64,
}

/// What lists were learned on; see `state::Lists`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    pub spill: f32,
    pub learned_on: usize,
    pub error: f64,
    pub merged_error: f64,
    pub merged: usize,
}

/// The header without its own checksum.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub dim: usize,
    pub metric: Metric,
    pub keep: Keep,
    pub index: Index,
    pub young: bool,
    pub seed: u64,
    pub recall: f64,
    pub counts: Counts,
    pub tuning: Tuning,
    pub learned: Learned,
    pub vertices: Vertices,
    pub hashes: [u64; SECTIONS],
}

impl Header {
    /// Of a store with these options.
    pub fn new(options: &Options) -> Header {
        Header {
            dim: options.dim,
            metric: options.metric,
            keep: kept(options),
            index: options.index,
            young: false,
            seed: options.seed,
            recall: options.recall,
            counts: Counts::default(),
            tuning: Tuning {
                probes: 0,
                margin: f32::INFINITY,
                refine: 1,
                recall: f64::NAN,
                measured_on: 0,
            },
            learned: Learned::default(),
            vertices: Vertices::default(),
            hashes: [0; SECTIONS],
        }
    }

    /// Dimensions, padded.
    pub fn width(&self) -> usize {
        self.dim.div_ceil(GROUP) * GROUP
    }

    /// What is kept of the rows.
    pub fn kept(&self) -> Keep {
        if self.young { Keep::Float32 } else { self.keep }
    }

    /// Bytes of each section, its filling left out.
    pub fn lengths(&self) -> [u64; SECTIONS] {
        let Counts {
            rows,
            lists,
            segments,
            blocks,
            ..
        } = self.counts;
        let (dim, width) = (self.dim as u64, self.width() as u64);
        let originals = match self.kept() {
            Keep::Planes => 0,
            Keep::Float16 => 2,
            Keep::Float32 => 4,
        };
        let graph = u64::from(self.vertices.entry > 0);
        let l2 = u64::from(self.metric == Metric::L2);
        [
            4 * width,
            8 * rows,
            8 * rows,
            4 * rows,
            4 * rows * l2,
            rows * width / 2,
            rows * width * 3 / 4,
            originals * rows * dim,
            8 * lists,
            lists * width,
            4 * (lists + segments),
            4 * blocks * BLOCK as u64,
            4 * blocks * 2 * BLOCK as u64,
            blocks * BLOCK as u64 * width / 8,
            4 * rows * graph,
            4 * M0 as u64 * rows * graph,
            4 * (M as u64 + 2) * self.vertices.upper,
        ]
    }

    /// Where each section begins, and last the length of the file.
    pub fn offsets(&self) -> [u64; SECTIONS + 1] {
        let mut offsets = [PAGE as u64; SECTIONS + 1];
        for (i, length) in self.lengths().into_iter().enumerate() {
            offsets[i + 1] = offsets[i] + length.next_multiple_of(PAGE as u64);
        }
        offsets
    }

    /// The header as it stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.dim as u32).to_le_bytes());
        out.extend([
            place(&METRICS, self.metric),
            place(&KEEPS, self.keep),
            place(&INDEXES, self.index),
            u8::from(self.young),
        ]);
        out.extend(self.tuning.margin.to_le_bytes());
        out.extend(self.seed.to_le_bytes());
        out.extend(self.recall.to_le_bytes());
        let Counts {
            rows,
            lists,
            segments,
            slots,
            blocks,
        } = self.counts;
        for count in [rows, lists, segments, slots, blocks] {
            out.extend(count.to_le_bytes());
        }
        out.extend((self.tuning.probes as u64).to_le_bytes());
        out.extend((self.tuning.refine as u64).to_le_bytes());
        out.extend(self.tuning.recall.to_le_bytes());
        out.extend((self.tuning.measured_on as u64).to_le_bytes());
        out.extend((self.learned.learned_on as u64).to_le_bytes());
        out.extend(self.learned.error.to_le_bytes());
        out.extend(self.learned.merged_error.to_le_bytes());
        out.extend((self.learned.merged as u64).to_le_bytes());
        out.extend(self.vertices.upper.to_le_bytes());
        out.extend(self.vertices.entry.to_le_bytes());
        out.extend(f64::from(self.learned.spill).to_le_bytes());
        for hash in self.hashes {
            out.extend(hash.to_le_bytes());
        }
        out.resize(OWN_HASH, 0);
        out.extend(xxh3_64(&out).to_le_bytes());
        out
    }

    /// Read a header of [`PAGE`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        if bytes.len() != PAGE || bytes[..8] != MAGIC {
            return damaged("it is no snapshot of a native store");
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Error::Foreign(
                "version",
                version.to_string(),
                VERSION.to_string(),
            ));
        }
        if xxh3_64(&bytes[..OWN_HASH]) != u64_at(bytes, OWN_HASH) {
            return damaged("the checksum of its header is wrong");
        }
        let counts: Vec<u64> = (0..5).map(|i| u64_at(bytes, 40 + 8 * i)).collect();
        let sizes = [80, 88, 104, 112, 136, 144, 152].map(|at| u64_at(bytes, at));
        if counts.iter().chain(&sizes).any(|&count| count > MANY) {
            return damaged("it claims to hold more than can be");
        }
        let header = Header {
            dim: u32_at(bytes, 12) as usize,
            metric: chosen(&METRICS, bytes[16])?,
            keep: chosen(&KEEPS, bytes[17])?,
            index: chosen(&INDEXES, bytes[18])?,
            young: bytes[19] != 0,
            seed: u64_at(bytes, 24),
            recall: f64_at(bytes, 32),
            counts: Counts {
                rows: counts[0],
                lists: counts[1],
                segments: counts[2],
                slots: counts[3],
                blocks: counts[4],
            },
            tuning: Tuning {
                probes: sizes[0] as usize,
                margin: f32::from_bits(u32_at(bytes, 20)),
                refine: sizes[1] as usize,
                recall: f64_at(bytes, 96),
                measured_on: sizes[2] as usize,
            },
            learned: Learned {
                spill: f64_at(bytes, 160) as f32,
                learned_on: sizes[3] as usize,
                error: f64_at(bytes, 120),
                merged_error: f64_at(bytes, 128),
                merged: sizes[4] as usize,
            },
            vertices: Vertices {
                upper: sizes[5],
                entry: sizes[6],
            },
            hashes: std::array::from_fn(|i| u64_at(bytes, HASHES + 8 * i)),
        };
        header.verify()?;
        Ok(header)
    }

    /// Refuse what no store writes.
    fn verify(&self) -> Result<(), Error> {
        let Counts {
            rows,
            lists,
            segments,
            slots,
            blocks,
        } = self.counts;
        let (learned, vertices) = (&self.learned, &self.vertices);
        let finite = learned.error.is_finite() && learned.merged_error.is_finite();
        let sound = (1..=65_536).contains(&self.dim)
            && rows < 1 << 31
            && lists + segments < 1 << 31
            && (rows <= slots || vertices.entry > 0)
            && vertices.entry <= rows
            && (vertices.upper == 0 || vertices.entry > 0)
            && vertices.upper <= rows * 16
            && (vertices.entry == 0 || lists == 0)
            && blocks <= slots
            && slots <= blocks * BLOCK as u64
            && self.tuning.refine >= 1
            && !self.tuning.margin.is_nan()
            && (self.tuning.probes as u64) <= lists.max(1)
            && (lists > 0) == (learned.learned_on > 0)
            && finite
            && !learned.spill.is_nan();
        if sound {
            Ok(())
        } else {
            damaged("its counts do not fit each other")
        }
    }

    /// Refuse a snapshot of a store that was made otherwise.
    pub fn compare(&self, options: &Options) -> Result<(), Error> {
        let mine = Header::new(options);
        let pairs = [
            ("dim", self.dim.to_string(), mine.dim.to_string()),
            ("metric", named(self.metric), named(mine.metric)),
            ("keep", named(self.keep), named(mine.keep)),
            ("index", named(self.index), named(mine.index)),
            ("recall", self.recall.to_string(), mine.recall.to_string()),
            ("seed", self.seed.to_string(), mine.seed.to_string()),
        ];
        for (what, there, here) in pairs {
            if there != here {
                return Err(Error::Foreign(what, there, here));
            }
        }
        Ok(())
    }
}

fn named(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn place<T: PartialEq>(table: &[T], value: T) -> u8 {
    table
        .iter()
        .position(|other| *other == value)
        .expect("the table is whole") as u8
}

fn chosen<T: Copy>(table: &[T], number: u8) -> Result<T, Error> {
    match table.get(usize::from(number)) {
        Some(&value) => Ok(value),
        None => damaged("it names a kind of store that there is not"),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn f64_at(bytes: &[u8], at: usize) -> f64 {
    f64::from_bits(u64_at(bytes, at))
}

/// A name of the content of a snapshot: the checksum of its header.
pub(crate) fn name_of(header: &[u8]) -> u64 {
    u64_at(header, OWN_HASH)
}
