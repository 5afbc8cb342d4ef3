//! What a data file may hold at most. Beyond a cap a file is refused, before it fills the memory.

/// Bytes of a file of text, and of the text that a compressed file holds: 256 MiB.
pub(super) const TEXT_BYTES: u64 = 256 << 20;
/// Bytes of a Parquet file: 4 GiB. It is not read whole.
pub(super) const PARQUET_BYTES: u64 = 4 << 30;
/// Decoded bytes of the columns that are used: 1 GiB.
pub(super) const COLUMN_BYTES: u64 = 1 << 30;
/// Rows.
pub(super) const ROWS: usize = 1_000_000;
/// Columns of a table.
pub(super) const COLUMNS: usize = 4_096;
/// Cells of all rows together, those inside of lists and objects too.
pub(super) const CELLS: usize = 5_000_000;
/// Lists and objects inside of one another.
pub(super) const DEPTH: usize = 64;

/// What to do with a file that is too large.
pub(super) const ADVICE: &str =
    "Give a part of it: some thousand rows, and only the columns that are needed, are enough for any task";
