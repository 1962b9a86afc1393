//! What is read from within a cursor once it has been opened, and from a line of an import, for the fuzz targets in `fuzz/`: it is data like
//! any other (S40).

use crate::domain::ndjson::Line;
use crate::error::Result;
use crate::store::{Mark, Order, Position};

/// Reads a place in the trail and writes it again.
pub fn position(bytes: &[u8]) -> Option<Vec<u8>> {
    Position::from_bytes(bytes).map(|position| position.to_bytes().to_vec())
}

/// Reads a place among the users and writes it again.
pub fn mark(bytes: &[u8], order: Order) -> Option<Vec<u8>> {
    Mark::from_bytes(bytes, order).map(|mark| mark.to_bytes())
}

/// Reads what is in the ticket of an offered second factor, and tells whether it is one.
pub fn is_ticket(bytes: &[u8]) -> bool {
    super::enrolment::read_ticket(bytes).is_some()
}

/// Reads a line of an import as a row.
///
/// # Errors
/// What is wrong with it.
pub fn import_row(line: &Line) -> Result<()> {
    super::import::check_line(line)
}
