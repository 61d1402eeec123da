//! Stores elsewhere keep the same contract, against real servers; and what happens when those, or the line
//! to them, do not do as they should.

#[path = "../support/servers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod servers;

mod buckets;
mod certificates;
mod copy;
mod credentials;
mod disaster;
mod faults;
mod faulty_ftp;
mod ftp;
mod hostile;
mod hosts;
mod life;
mod line;
mod lines;
mod program;
mod sftp;
mod webdav;
