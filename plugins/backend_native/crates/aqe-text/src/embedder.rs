//! Texts to vectors: sums of the vectors of their subtokens.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::interner::{Cut, Interner};
use crate::kernels::{add_vector, prefetch, squares};
use crate::rarity::{KEY_BYTES, Rarity, digest_of, key_of};
use crate::subtokens::{Foreign, Parts};

const LEARNED_DIM: usize = 256;
const SATURATION: f64 = 1.2; // k1 of BM25
const HASHED_UNIT: i8 = 24; // magnitude of a hashed component where the learned ones are int8
const UNKNOWN_UNIT: i8 = 17; // of the learned components of a subtoken without any
const WEIGHT_STEPS: f64 = 64.0;
const MAX_TF: u32 = 255;
const NAMED: u32 = 1 << 31; // set in the tf of a subtoken that occurs in the name
const MAX_SUBTOKENS: usize = 1 << 15; // whose vectors are kept: 12.6 MB at 384 dimensions

/// The shipped table: learned vectors, and how common each subtoken is in tests at large.
#[derive(Debug)]
pub struct Shipped {
    row_of: HashMap<Box<[u8]>, u32>,
    df: Vec<u32>,
    n_documents: u64,
    vectors: Vec<i8>,
}

impl Shipped {
    /// Take subtokens, the frequencies among `n_documents` tests, and vectors of 256 numbers. `None` if not so many.
    pub fn new(
        subtokens: Vec<Box<[u8]>>,
        df: Vec<u32>,
        n_documents: u64,
        vectors: Vec<i8>,
    ) -> Option<Self> {
        if df.len() != subtokens.len() || vectors.len() != subtokens.len() * LEARNED_DIM {
            return None;
        }
        Some(Self {
            row_of: subtokens.into_iter().zip(0..).collect(),
            df,
            n_documents,
            vectors,
        })
    }

    fn find(&self, subtoken: &[u8]) -> (f64, Option<&[i8]>) {
        let row = self.row_of.get(subtoken).map(|&row| row as usize);
        let df = row.map_or(1, |row| self.df[row]);
        let vector = row.map(|row| &self.vectors[row * LEARNED_DIM..(row + 1) * LEARNED_DIM]);
        (f64::from(df) / self.n_documents as f64, vector)
    }
}

/// Embeds; keeps the vectors and weights of the subtokens it met.
#[derive(Debug)]
pub struct Sums {
    dim: usize,
    name_weight: f64,
    learned: bool,
    rarity: Rarity,
    shipped: Arc<Shipped>,
    interner: Interner,
    vectors: Vec<i8>,
    idf: Vec<f64>, // in steps
    tf: Vec<u32>,  // of the document at hand; else 0
}

impl Sums {
    /// Make an embedder; `learned` means that the last 256 of `dim` components are the table's, and `dim` is above that.
    pub fn new(
        dim: usize,
        name_weight: f64,
        learned: bool,
        rarity: Rarity,
        shipped: Arc<Shipped>,
    ) -> Self {
        Self {
            dim,
            name_weight,
            learned,
            rarity,
            shipped,
            interner: Interner::new(Cut::Subtokens),
            vectors: Vec::new(),
            idf: Vec::new(),
            tf: Vec::new(),
        }
    }

    /// Write the unit vector of a document (name, text) to `out`, of `dim` numbers.
    pub fn embed(&mut self, name: &[u8], text: &[u8], foreign: &Foreign, out: &mut [f32]) {
        self.make_room();
        let mut met: Vec<u32> = Vec::with_capacity(128);
        self.interner.number(text, foreign, &mut met);
        let of_text = met.len();
        self.interner.number(name, foreign, &mut met);
        self.sum(met, of_text, out);
    }

    /// The same for a text without a name, that was cut already.
    pub fn embed_parts(&mut self, parts: &Parts, out: &mut [f32]) {
        self.make_room();
        let mut met: Vec<u32> = Vec::with_capacity(128);
        self.interner.number_parts(parts, &mut met);
        let of_text = met.len();
        self.sum(met, of_text, out);
    }

    fn make_room(&mut self) {
        if self.tf.len() > MAX_SUBTOKENS {
            self.interner = Interner::new(Cut::Subtokens);
            self.vectors.clear();
            self.idf.clear();
            self.tf.clear();
        }
    }

    /// Sum up subtokens, the first `of_text` of the text, the others of the name.
    fn sum(&mut self, mut met: Vec<u32>, of_text: usize, out: &mut [f32]) {
        self.fill();
        let mut distinct = 0;
        for i in 0..met.len() {
            let tf = &mut self.tf[met[i] as usize];
            if *tf == 0 {
                let start = met[i] as usize * self.dim;
                let vector = self.vectors[start..start + self.dim].iter();
                vector.step_by(64).for_each(prefetch);
                met[distinct] = met[i];
                distinct += 1;
            }
            if i < of_text {
                *tf += 1;
            } else {
                *tf |= NAMED;
            }
        }
        out.fill(0.0);
        for &row in &met[..distinct] {
            let row = row as usize;
            let tf = std::mem::take(&mut self.tf[row]);
            let weight = (self.weight(tf) * self.idf[row]).round_ties_even() as f32;
            add_vector(
                out,
                &self.vectors[row * self.dim..(row + 1) * self.dim],
                weight,
            );
        }
        normalise(out);
    }

    fn weight(&self, tf: u32) -> f64 {
        let count = f64::from((tf & !NAMED).min(MAX_TF));
        let saturated = count * (SATURATION + 1.0) / (count + SATURATION);
        if tf & NAMED == 0 {
            saturated
        } else {
            saturated + self.name_weight
        }
    }

    /// Compute vectors and weights of subtokens that are new.
    fn fill(&mut self) {
        if self.idf.len() == self.interner.len() {
            return;
        }
        let mut digest = vec![0; KEY_BYTES + self.dim.div_ceil(8)];
        for number in self.idf.len()..self.interner.len() {
            let subtoken = self.interner.text(number as u32);
            digest_of(subtoken, &mut digest);
            let (share, vector) = self.shipped.find(subtoken);
            self.idf
                .push(self.rarity.idf(key_of(&digest), share) * WEIGHT_STEPS);
            let signs = signs(&digest).take(self.dim);
            if self.learned {
                let hashed = self.dim - LEARNED_DIM;
                self.vectors
                    .extend(signs.clone().take(hashed).map(|sign| sign * HASHED_UNIT));
                match vector {
                    Some(vector) => self.vectors.extend_from_slice(vector),
                    None => self
                        .vectors
                        .extend(signs.skip(hashed).map(|sign| sign * UNKNOWN_UNIT)),
                }
            } else {
                self.vectors.extend(signs);
            }
        }
        self.tf.resize(self.idf.len(), 0);
    }
}

/// The bits of a digest after its key, as +1 and -1, the highest of a byte first.
fn signs(digest: &[u8]) -> impl Iterator<Item = i8> + Clone {
    let bytes = digest[KEY_BYTES..].iter();
    bytes.flat_map(|&byte| (0..8).map(move |bit| if byte & (128 >> bit) != 0 { 1 } else { -1 }))
}

/// Scale to unit length; a vector of zeros becomes the one of the empty subtoken.
fn normalise(out: &mut [f32]) {
    let mut square = squares(out);
    if square == 0.0 {
        let mut digest = vec![0; KEY_BYTES + out.len().div_ceil(8)];
        digest_of(b"", &mut digest);
        for (to, sign) in out.iter_mut().zip(signs(&digest)) {
            *to = f32::from(sign);
        }
        square = out.len() as f64;
    }
    let length = square.sqrt() as f32;
    for x in out {
        *x /= length;
    }
}
