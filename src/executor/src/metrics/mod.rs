//! What a central system reads: `/metrics` and `/healthz`.

mod listen;

pub(crate) use listen::Listen;
