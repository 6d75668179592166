//! Codes of the rows of one list, in blocks of 32.

mod saved;

use crate::buffer::Buffer;
use crate::code::Factors;
use crate::kernels::{BLOCK, Codes, byte_of, lane_of};

/// Marks a slot whose row has left.
pub const NO_ROW: u32 = u32::MAX;

/// Codes, factors and row numbers; a slot is a place in it. The slots of a block are its lanes.
#[derive(Clone, Debug)]
pub struct List {
    codes: Buffer,
    factors: Vec<f32>,
    rows: Vec<u32>,
    used: usize,
    dead: usize,
    width: usize,
}

/// Codes and factors of some blocks.
pub struct ListPart<'a> {
    codes: &'a mut [u8],
    factors: &'a mut [f32],
    width: usize,
}

impl ListPart<'_> {
    /// Write the code of the i-th row.
    #[inline]
    pub fn set(&mut self, i: usize, signs: &[u8], factors: Factors) {
        let (block, byte) = (i / BLOCK, i % BLOCK);
        let codes = &mut self.codes[block * BLOCK * self.width..][..BLOCK * self.width];
        for (line, &sign) in codes.chunks_exact_mut(BLOCK).zip(signs) {
            line[byte] = sign;
        }
        let block = &mut self.factors[block * 2 * BLOCK..][..2 * BLOCK];
        block[lane_of(byte)] = factors.slope;
        block[BLOCK + lane_of(byte)] = factors.offset;
    }
}

impl List {
    /// An empty list of codes of `width` bytes, with room for some rows.
    pub fn new(width: usize, capacity: usize) -> List {
        let mut list = List {
            codes: Buffer::zeroed(0),
            factors: Vec::new(),
            rows: Vec::new(),
            used: 0,
            dead: 0,
            width,
        };
        list.reserve(capacity.div_ceil(BLOCK));
        list
    }

    /// Slots in use, dead ones included.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Slots whose row is there.
    pub fn alive(&self) -> usize {
        self.used - self.dead
    }

    /// Row numbers by slot, `NO_ROW` where dead or not used.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    fn reserve(&mut self, blocks: usize) {
        let wanted = blocks * BLOCK * self.width;
        if self.codes.get().len() < wanted {
            self.codes.grow(wanted);
            self.rows.reserve_exact(blocks * BLOCK - self.rows.len());
            self.factors
                .reserve_exact(blocks * 2 * BLOCK - self.factors.len());
        }
    }

    /// A list of so many rows, whose codes and numbers have to follow.
    pub fn filled(width: usize, len: usize) -> List {
        let blocks = len.div_ceil(BLOCK);
        let mut factors = vec![0.0; blocks * 2 * BLOCK];
        for lane in (len..blocks * BLOCK).map(|slot| lane_of(slot % BLOCK)) {
            factors[(2 * blocks - 1) * BLOCK + lane] = f32::NEG_INFINITY;
        }
        List {
            codes: Buffer::zeroed(blocks * BLOCK * width),
            factors,
            rows: vec![NO_ROW; blocks * BLOCK],
            used: len,
            dead: 0,
            width,
        }
    }

    /// Parts of so many rows, a multiple of [`BLOCK`], to be filled apart.
    pub fn parts(&mut self, rows: usize) -> impl Iterator<Item = ListPart<'_>> {
        let width = self.width;
        let codes = self.codes.get_mut().chunks_mut(rows * width);
        let factors = self.factors.chunks_mut(2 * rows);
        codes.zip(factors).map(move |(codes, factors)| ListPart {
            codes,
            factors,
            width,
        })
    }

    /// Number the rows of a list that was made full, in their order from `first` on.
    pub fn number(&mut self, first: u32) {
        for slot in 0..self.used {
            self.rows[slot / BLOCK * BLOCK + lane_of(slot % BLOCK)] = first + slot as u32;
        }
    }

    /// Append a row.
    pub fn push(&mut self, row: u32, signs: &[u8], factors: Factors) {
        let (block, byte) = (self.used / BLOCK, self.used % BLOCK);
        if byte == 0 {
            if self.codes.get().len() < (block + 1) * BLOCK * self.width {
                self.reserve(block + 1 + block / 8);
            }
            self.rows.resize((block + 1) * BLOCK, NO_ROW);
            self.factors.resize((block + 1) * 2 * BLOCK, 0.0);
            self.factors[block * 2 * BLOCK + BLOCK..].fill(f32::NEG_INFINITY);
        }
        let mut part = ListPart {
            codes: self.codes.get_mut(),
            factors: &mut self.factors,
            width: self.width,
        };
        part.set(self.used, signs, factors);
        self.rows[block * BLOCK + lane_of(byte)] = row;
        self.used += 1;
    }

    /// Let a row leave. False if it is not there. O(slots).
    pub fn kill(&mut self, row: u32) -> bool {
        let Some(slot) = self.rows.iter().position(|&other| other == row) else {
            return false;
        };
        self.kill_slot(slot);
        true
    }

    /// Let the row in a slot leave.
    pub fn kill_slot(&mut self, slot: usize) {
        self.rows[slot] = NO_ROW;
        self.dead += 1;
        let (block, lane) = (slot / BLOCK, slot % BLOCK);
        self.factors[block * 2 * BLOCK + lane] = 0.0;
        self.factors[block * 2 * BLOCK + BLOCK + lane] = f32::NEG_INFINITY;
    }

    /// Append the living slots of another list.
    pub fn append(&mut self, other: &List) {
        let mut signs = vec![0; self.width];
        for (slot, &row) in other.rows.iter().enumerate() {
            if row == NO_ROW {
                continue;
            }
            let (block, lane) = (slot / BLOCK, slot % BLOCK);
            let codes = &other.codes.get()[block * BLOCK * self.width + byte_of(lane)..];
            for (byte, &code) in signs.iter_mut().zip(codes.iter().step_by(BLOCK)) {
                *byte = code;
            }
            let factors = &other.factors[block * 2 * BLOCK..];
            self.push(
                row,
                &signs,
                Factors {
                    slope: factors[lane],
                    offset: factors[BLOCK + lane],
                },
            );
        }
    }

    /// Whether a quarter of the slots is dead.
    pub fn is_sparse(&self) -> bool {
        self.dead > BLOCK / 4 && 4 * self.dead > self.used
    }

    /// Copy the living slots together.
    pub fn compact(&mut self) {
        let mut compacted = List::new(self.width, self.alive());
        compacted.append(self);
        *self = compacted;
    }

    /// What is scanned.
    pub fn codes(&self) -> Codes<'_> {
        Codes {
            codes: self.codes.get(),
            factors: &self.factors,
            rows: &self.rows,
            len: self.used,
        }
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        self.codes.bytes()
            + 4 * (self.factors.capacity() + self.rows.capacity())
            + size_of::<List>()
    }
}
