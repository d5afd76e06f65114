//! Behaviour of the operations, through a router.

mod system;
