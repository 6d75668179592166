//! Codes of the rows of one list, in blocks of 32, of which two stand side by side.

mod saved;

use crate::buffer::Buffer;
use crate::code::Factors;
use crate::kernels::{BLOCK, Codes, byte_of, lane_of, lines_of};

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

/// Codes and factors of some blocks, an even number of them unless they are the last ones.
pub struct ListPart<'a> {
    codes: &'a mut [u8],
    factors: &'a mut [f32],
    blocks: usize,
    width: usize,
}

impl ListPart<'_> {
    /// Write the code of the i-th row.
    #[inline]
    pub fn set(&mut self, i: usize, signs: &[u8], factors: Factors) {
        let (block, byte) = (i / BLOCK, i % BLOCK);
        let (start, stride) = lines_of(block, self.blocks, BLOCK * self.width);
        for (line, &sign) in self.codes[start..].chunks_mut(stride).zip(signs) {
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

    /// Parts of so many rows, a multiple of two blocks, to be filled apart.
    pub fn parts(&mut self, rows: usize) -> impl Iterator<Item = ListPart<'_>> {
        assert!(rows.is_multiple_of(2 * BLOCK));
        let width = self.width;
        let codes = self.codes.get_mut().chunks_mut(rows * width);
        let factors = self.factors.chunks_mut(2 * rows);
        codes.zip(factors).map(move |(codes, factors)| ListPart {
            blocks: factors.len() / (2 * BLOCK),
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
            if block % 2 == 1 {
                self.make_room_beside(block - 1);
            }
            self.rows.resize((block + 1) * BLOCK, NO_ROW);
            self.factors.resize((block + 1) * 2 * BLOCK, 0.0);
            self.factors[block * 2 * BLOCK + BLOCK..].fill(f32::NEG_INFINITY);
        }
        let mut part = ListPart {
            blocks: self.factors.len() / (2 * BLOCK),
            codes: self.codes.get_mut(),
            factors: &mut self.factors,
            width: self.width,
        };
        part.set(self.used, signs, factors);
        self.rows[block * BLOCK + lane_of(byte)] = row;
        self.used += 1;
    }

    /// Move the lines of a block that stood alone apart, so that another one can stand beside it.
    fn make_room_beside(&mut self, block: usize) {
        let codes = &mut self.codes.get_mut()[block * BLOCK * self.width..];
        for line in (1..self.width).rev() {
            codes.copy_within(line * BLOCK..(line + 1) * BLOCK, line * 2 * BLOCK);
        }
        for pair in codes.chunks_exact_mut(2 * BLOCK).take(self.width) {
            pair[BLOCK..].fill(0);
        }
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
            let (start, stride) = lines_of(block, other.blocks(), BLOCK * self.width);
            let codes = &other.codes.get()[start + byte_of(lane)..];
            for (byte, &code) in signs.iter_mut().zip(codes.iter().step_by(stride)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 16;

    fn signs(row: usize) -> [u8; WIDTH] {
        std::array::from_fn(|i| (7 * row + i) as u8)
    }

    fn factors(row: usize) -> Factors {
        Factors {
            slope: row as f32,
            offset: -(row as f32),
        }
    }

    /// The code in a slot.
    fn code(list: &List, slot: usize) -> Vec<u8> {
        let (start, stride) = lines_of(slot / BLOCK, list.blocks(), BLOCK * WIDTH);
        let line = |i: usize| list.codes.get()[start + i * stride + byte_of(slot % BLOCK)];
        (0..WIDTH).map(line).collect()
    }

    #[test]
    fn codes_stay_while_blocks_come_to_stand_side_by_side() {
        let mut list = List::new(WIDTH, 0);
        for row in 0..5 * BLOCK + 3 {
            list.push(row as u32, &signs(row), factors(row));
            if row % BLOCK > 1 && row % BLOCK < BLOCK - 1 {
                continue;
            }
            let slots = list.rows().iter().enumerate();
            let used = slots.filter(|&(_, &row)| row != NO_ROW);
            let found: Vec<usize> = used
                .map(|(slot, &row)| {
                    assert_eq!(code(&list, slot), signs(row as usize));
                    row as usize
                })
                .collect();
            assert_eq!((found.len(), list.blocks()), (row + 1, row / BLOCK + 1));
        }
    }

    #[test]
    fn a_list_filled_in_parts_is_the_one_that_grew() {
        for len in [1, BLOCK, BLOCK + 1, 4 * BLOCK, 6 * BLOCK + 5] {
            let mut grown = List::new(WIDTH, len);
            let mut filled = List::filled(WIDTH, len);
            for row in 0..len {
                grown.push(row as u32, &signs(row), factors(row));
            }
            for (i, mut part) in filled.parts(2 * BLOCK).enumerate() {
                let first = 2 * i * BLOCK;
                for row in first..len.min(first + 2 * BLOCK) {
                    part.set(row - first, &signs(row), factors(row));
                }
            }
            filled.number(0);
            let used = grown.blocks() * BLOCK * WIDTH;
            assert_eq!(grown.codes.get()[..used], filled.codes.get()[..used]);
            assert_eq!(grown.factors, filled.factors);
            assert_eq!(grown.rows(), filled.rows());
        }
    }
}
