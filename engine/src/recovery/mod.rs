//! From files to a running store: what is found is judged, then opened or refused.

pub mod judge;
