"""Makes the fixture of a training by PyTorch's DistributedDataParallel on two processes (gloo).

Run with torch==2.11.0 and monai==1.6.1; writes tests/parity/fixtures/training/data_parallel.safetensors.
Images and labels are drawn by the rule of drawn.py. The Rust side is
stages/net/tests/data_parallel_network.rs.
"""

import json
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from monai.losses import DiceCELoss
from monai.networks import one_hot
from monai.networks.nets import UNet
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from drawn import drawn, drawn_labels, fill

FOLDER = Path(__file__).parent / "fixtures" / "training"
RANKS, STEPS, RATE, MOMENTUM = 2, 3, 0.05, 0.9
SHAPE = (4, 1, 8, 8, 8)


def train(rank, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    net = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=(4, 8), strides=(2,), num_res_units=2, norm="batch").double()
    with torch.no_grad():
        fill(net, 6)
    start = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    parallel = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=RATE, momentum=MOMENTUM)
    loss_of = DiceCELoss(softmax=True, squared_pred=True, batch=True, lambda_dice=0.5, lambda_ce=0.5)
    own = slice(rank * SHAPE[0] // RANKS, (rank + 1) * SHAPE[0] // RANKS)
    for step in range(STEPS):
        images, labels = drawn(20 + step, *SHAPE)[own], drawn_labels(40 + step, 3, *SHAPE)[own]
        optimizer.zero_grad()
        loss_of(parallel(images), one_hot(labels, 3, dtype=torch.float64)).backward()
        optimizer.step()
    if rank == 0:
        moved = max((net.state_dict()[name] - start[name]).abs().max().item() for name in start)
        print(f"the largest change is {moved:.3f}")
        tensors = {f"rank_0/{name}": tensor.detach().contiguous().clone() for name, tensor in net.state_dict().items()}
        about = dict(ranks=RANKS, steps=STEPS, rate=RATE, loss={}, optimizer=dict(name="sgd", momentum=MOMENTUM),
                     network=dict(channels=[4, 8], strides=[2], residual_units=2, norm="batch"))
        FOLDER.mkdir(parents=True, exist_ok=True)
        save_file(tensors, FOLDER / "data_parallel.safetensors", metadata={"about": json.dumps(about)})
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, args=(Path(folder) / "meeting",), nprocs=RANKS)
