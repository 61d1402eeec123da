pub struct Faulty;
pub struct Fault;
