//! What stands around every execution, in two plugins: `quota` refuses callers who have had enough,
//! `audit` writes down every job that has ended. Neither knows any operation.
//!
//! ```toml
//! [server]
//! caller_header = "x-forwarded-user"   # set by the proxy that knows who asks
//!
//! [plugins.quota]
//! jobs = 100
//! per = "1h"
//! ```

mod audit;
mod quota;
