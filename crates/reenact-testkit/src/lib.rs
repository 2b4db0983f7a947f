//! What tests share: model servers that follow a script, over real HTTP on the loopback interface.
