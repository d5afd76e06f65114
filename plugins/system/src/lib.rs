//! Skep operations about the server itself: status, check, echo
