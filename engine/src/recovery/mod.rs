//! Opening a store: what its files say, what that means, and the state they hold.

pub mod replay;
