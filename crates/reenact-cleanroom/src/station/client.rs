//! The commands' side of a station.
