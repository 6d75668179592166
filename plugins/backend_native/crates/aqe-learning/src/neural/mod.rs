//! Small perceptrons for actor and critic, and the descent of their loss: proximal policy optimization and advantage
//! actor-critic, as `aqe_backend_numpy.neural` defines them, in float32.

mod descent;
mod heads;
mod kernels;
mod network;
mod products;

pub use descent::{Batch, Descent, Optimizer, Options};
pub use heads::{Actions, Head};
pub use network::{Network, Work};
