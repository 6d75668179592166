//! What a text index holds, and how it changes.

use hashbrown::{HashMap, HashSet};

use crate::interner::{Cut, Interner};
use crate::postings::{Posting, Postings, Saturation, length_unit};
use crate::subtokens::Foreign;

const NO_ROW: u32 = u32::MAX;
const NO_KEY: u64 = u64::MAX;
const DEAD_SHARE: usize = 4; // more than a quarter of empty rows or unused terms is not carried along
const SWEEP_SHARE: usize = 16; // more than a sixteenth of the rows is removed in one pass over everything

/// The parameters of BM25.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How soon more occurrences stop to tell.
    pub k1: f64,
    /// How much a long document has to share more.
    pub b: f64,
    /// How often an occurrence in the name counts.
    pub name_weight: u32,
}

#[derive(Debug)]
pub(crate) struct Term {
    pub common: bool, // a function word
    pub postings: Postings,
}

#[derive(Debug)]
struct Row {
    length: i64,
    terms: Box<[u32]>,
}

/// Everything an index holds, by key and by term, as arrays.
#[derive(Debug, Default, PartialEq)]
pub struct Packed {
    /// Ascending.
    pub keys: Vec<u64>,
    /// Of each key.
    pub lengths: Vec<i64>,
    /// Separated by line feeds.
    pub terms: Vec<u8>,
    /// Of each term, how many postings it has.
    pub counts: Vec<i64>,
    /// Of all postings, by term, then ascending.
    pub rows: Vec<i32>,
    /// Of all postings.
    pub tf: Vec<u16>,
}

/// BM25 over terms: documents under keys.
#[derive(Debug)]
pub struct Index {
    rules: Rules,
    function_words: HashSet<Box<[u8]>>,
    pub(crate) interner: Interner,
    pub(crate) terms: Vec<Term>, // by number
    row_of: HashMap<u64, u32>,
    keys: Vec<u64>, // by row; NO_KEY: removed
    rows: Vec<Row>,
    total_length: i64,
    unit: f64, // the mean length that the impacts stand for
}

impl Index {
    /// Make an empty index. The function words are stemmed as terms are.
    pub fn new(rules: Rules, function_words: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        Self {
            rules,
            function_words: function_words.into_iter().collect(),
            interner: Interner::new(Cut::Terms),
            terms: Vec::new(),
            row_of: HashMap::new(),
            keys: Vec::new(),
            rows: Vec::new(),
            total_length: 0,
            unit: 1.0,
        }
    }

    /// The number of keys. O(1).
    pub fn len(&self) -> usize {
        self.row_of.len()
    }

    /// Whether there is no key. O(1).
    pub fn is_empty(&self) -> bool {
        self.row_of.is_empty()
    }

    /// The keys, ascending. O(n log n).
    pub fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<_> = self.row_of.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn key_at(&self, row: usize) -> u64 {
        self.keys[row]
    }

    pub(crate) fn row(&self, key: u64) -> Option<u32> {
        self.row_of.get(&key).copied()
    }

    // -- writing -----------------------------------------------------------------------------------------------------

    /// Store documents, each a key and its name and text; a key that is there gets the new one. Keys are distinct.
    ///
    /// O(terms of the documents), and the removal of those replaced.
    pub fn add(&mut self, documents: &[(u64, &[u8], &[u8])], foreign: &Foreign) {
        let replaced: Vec<u64> = documents.iter().map(|&(key, ..)| key).collect();
        self.remove(&replaced);
        let saturation = self.saturation();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        let mut met = Vec::new();
        for &(key, name, text) in documents {
            counts.clear();
            for (part, weight) in [(text, 1), (name, self.rules.name_weight)] {
                met.clear();
                self.interner.number(part, foreign, &mut met);
                counts.extend(met.iter().map(|&term| (term, weight)));
            }
            self.hold_new_terms();
            self.append(key, &mut counts, saturation);
        }
    }

    fn append(&mut self, key: u64, counts: &mut [(u32, u32)], saturation: Saturation) {
        counts.sort_unstable();
        let mut tfs: Vec<(u32, u16)> = Vec::new();
        for same in counts.chunk_by(|a, b| a.0 == b.0) {
            let tf: u64 = same.iter().map(|&(_, count)| u64::from(count)).sum();
            if tf > 0 {
                tfs.push((same[0].0, tf.min(u64::from(u16::MAX)) as u16));
            }
        }
        let row = self.rows.len() as u32;
        let length = tfs.iter().map(|&(_, tf)| i64::from(tf)).sum();
        for &(term, tf) in &tfs {
            let impact = saturation.impact(tf, length);
            self.terms[term as usize]
                .postings
                .push(Posting { row, tf, impact });
        }
        self.total_length += length;
        self.row_of.insert(key, row);
        self.keys.push(key);
        self.rows.push(Row {
            length,
            terms: tfs.iter().map(|&(term, _)| term).collect(),
        });
    }

    fn hold_new_terms(&mut self) {
        for number in self.terms.len()..self.interner.len() {
            let text = self.interner.text(number as u32);
            let common = self.function_words.contains(text);
            self.terms.push(Term {
                common,
                postings: Postings::default(),
            });
        }
    }

    /// Remove distinct keys; return how many were there. O(postings of their terms), at most O(all postings).
    pub fn remove(&mut self, keys: &[u64]) -> usize {
        let rows: Vec<u32> = keys
            .iter()
            .filter_map(|key| self.row_of.remove(key))
            .collect();
        let many = rows.len() > 8 && rows.len() * SWEEP_SHARE > self.rows.len();
        for &row in &rows {
            self.keys[row as usize] = NO_KEY;
            let held = &mut self.rows[row as usize];
            self.total_length -= held.length;
            let terms = std::mem::take(&mut held.terms);
            if !many {
                for &term in &terms {
                    self.terms[term as usize].postings.remove(row);
                }
            }
        }
        if many || (self.rows.len() - self.len()) * DEAD_SHARE > self.rows.len() {
            self.sweep();
        }
        rows.len()
    }

    /// Drop empty rows, and terms without postings if they are many. O(all postings).
    fn sweep(&mut self) {
        let mut number = vec![NO_ROW; self.rows.len()];
        let mut n = 0;
        for (row, &key) in self.keys.iter().enumerate() {
            if key != NO_KEY {
                number[row] = n;
                self.row_of.insert(key, n);
                n += 1;
            }
        }
        let mut is_kept = number.iter().map(|&row| row != NO_ROW);
        self.rows.retain(|_| is_kept.next().unwrap_or(false));
        self.keys.retain(|&key| key != NO_KEY);
        for term in &mut self.terms {
            term.postings.renumber(&number, n as usize);
        }
        let unused = self
            .terms
            .iter()
            .filter(|term| term.postings.len() == 0)
            .count();
        if unused * DEAD_SHARE > self.terms.len() {
            self.forget_terms();
        }
    }

    fn forget_terms(&mut self) {
        let mut number = vec![NO_ROW; self.terms.len()];
        let mut n = 0;
        for (term, held) in self.terms.iter().enumerate() {
            if held.postings.len() > 0 {
                number[term] = n;
                n += 1;
            }
        }
        self.interner.retain(|term| number[term] != NO_ROW);
        self.terms.retain(|held| held.postings.len() > 0);
        for row in &mut self.rows {
            for term in &mut row.terms {
                *term = number[*term as usize];
            }
        }
    }

    // -- weighing ----------------------------------------------------------------------------------------------------

    fn saturation(&self) -> Saturation {
        Saturation::new(self.rules.k1, self.rules.b, self.unit)
    }

    /// Whether the impacts stand for the present mean length, as a search needs it. O(1).
    pub fn is_weighed(&self) -> bool {
        self.unit == length_unit(self.total_length, self.len())
    }

    /// Weigh all postings by the present mean length. O(all postings) if that changed, else O(1).
    pub fn weigh(&mut self) {
        if self.is_weighed() {
            return;
        }
        self.unit = length_unit(self.total_length, self.len());
        let (saturation, n) = (self.saturation(), self.rows.len());
        let rows = &self.rows;
        for term in &mut self.terms {
            let impact = |posting: &Posting| {
                saturation.impact(posting.tf, rows[posting.row as usize].length)
            };
            term.postings.weigh(impact, n);
        }
    }

    // -- state -------------------------------------------------------------------------------------------------------

    /// Return everything, without terms that no document holds. O(postings log).
    pub fn packed(&self) -> Packed {
        let mut packed = Packed {
            keys: self.keys(),
            ..Packed::default()
        };
        let mut number = vec![-1; self.rows.len()];
        for (i, key) in packed.keys.iter().enumerate() {
            let row = self.row_of[key] as usize;
            number[row] = i as i32;
            packed.lengths.push(self.rows[row].length);
        }
        for (term, number_of_term) in self.terms.iter().zip(0..) {
            if term.postings.len() == 0 {
                continue;
            }
            if !packed.counts.is_empty() {
                packed.terms.push(b'\n');
            }
            packed
                .terms
                .extend_from_slice(self.interner.text(number_of_term));
            packed.counts.push(term.postings.len() as i64);
            let of_term = term.postings.iter();
            let mut list: Vec<_> = of_term.map(|p| (number[p.row as usize], p.tf)).collect();
            list.sort_unstable();
            packed.rows.extend(list.iter().map(|&(row, _)| row));
            packed.tf.extend(list.iter().map(|&(_, tf)| tf));
        }
        packed
    }

    /// Replace everything by what [`Index::packed`] returned, or what was checked to be like it. O(postings).
    pub fn unpack(&mut self, packed: &Packed) {
        let function_words = std::mem::take(&mut self.function_words);
        *self = Self::new(self.rules, function_words);
        let n = packed.keys.len();
        let total = |sum: i64, &length: &i64| sum.wrapping_add(length);
        self.total_length = packed.lengths.iter().fold(0, total);
        self.unit = length_unit(self.total_length, n);
        let saturation = self.saturation();
        let mut counts_of_row = vec![0; n];
        packed
            .rows
            .iter()
            .for_each(|&row| counts_of_row[row as usize] += 1);
        let mut terms_of_row: Vec<_> = counts_of_row.into_iter().map(Vec::with_capacity).collect();
        self.interner.reserve(packed.counts.len());
        let mut at = 0;
        // Without terms there is one empty one, which no count goes with.
        for (text, &count) in packed
            .terms
            .split(|&byte| byte == b'\n')
            .zip(&packed.counts)
        {
            let term = self.interner.intern(text);
            self.hold_new_terms();
            let places = at..at + count as usize;
            let of_term = packed.rows[places.clone()].iter().zip(&packed.tf[places]);
            let list = of_term.map(|(&row, &tf)| {
                let impact = saturation.impact(tf, packed.lengths[row as usize]);
                terms_of_row[row as usize].push(term);
                Posting {
                    row: row as u32,
                    tf,
                    impact,
                }
            });
            self.terms[term as usize].postings = Postings::new(list, n);
            at += count as usize;
        }
        for ((&key, &length), terms) in packed.keys.iter().zip(&packed.lengths).zip(terms_of_row) {
            self.row_of.insert(key, self.rows.len() as u32);
            self.keys.push(key);
            self.rows.push(Row {
                length,
                terms: terms.into(),
            });
        }
    }
}
