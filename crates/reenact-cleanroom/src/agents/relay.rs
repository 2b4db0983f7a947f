//! The only way out of a cleanroom: a relay to one model endpoint.
