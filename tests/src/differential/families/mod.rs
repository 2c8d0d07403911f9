//! What the generator knows of each family of commands: data alone. A new family is a file here and a row in [`FAMILIES`].

mod bitmaps;
mod geo;
mod hashes;
mod sets;
mod sort;
mod sorted_sets;

/// All families. Strings and keys, which every sequence has, are the generator's own.
pub(super) static FAMILIES: &[&Family] =
    &[&sets::FAMILY, &sorted_sets::FAMILY, &geo::FAMILY, &bitmaps::FAMILY, &hashes::FAMILY, &sort::FAMILY];

/// A family of commands.
#[derive(Debug)]
pub(super) struct Family {
    /// Commands; a word in lower case is looked up in the lists below, then in the generator's own words, else it stands for itself.
    pub(super) templates: &'static [&'static str],
    /// Commands that write, so that there is something to read: always in a sequence of this family.
    pub(super) writers: &'static [&'static str],
    /// A word of this name is one of these.
    pub(super) pools: &'static [(&'static str, &'static [&'static str])],
    /// A word of this name is up to so many of these, each of which may be several words.
    pub(super) options: &'static [(&'static str, usize, &'static [&'static str])],
    /// A word of this name is one to so many times these words.
    pub(super) repeats: &'static [(&'static str, usize, &'static str)],
}
