pub struct Recording;
pub struct Call;
