//! A server of one's own, from the plugins one picks
