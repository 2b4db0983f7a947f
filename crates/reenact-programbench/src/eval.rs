//! The evaluation of submissions: their steps, their order, their codes; our containers.
