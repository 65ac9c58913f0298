# nnabla_ofa on CUDA 10.2 with NNabla 1.28: NVIDIA drivers 440.33 and newer, GPUs up to sm_75.
# Nobody has built this image yet; its pins are tested against requirements-1.28.txt.
#   docker build -t nnabla_ofa .
#   docker run --gpus all --ipc host -v /path/to/imagenet:/data -v "$PWD/runs:/app/runs" nnabla_ofa
# trains on four GPUs. Any other command goes behind the image's name:
#   docker run --gpus all ... nnabla_ofa python runners/evaluate.py --help
FROM nvidia/cuda:10.2-cudnn8-devel-ubuntu18.04

ARG PYTHON_VERSION=3.8
ARG NCCL_VERSION=2.7.8-1+cuda10.2
ARG OPENMPI_VERSION=3.1.6
ARG OPENMPI_SHA256=50131d982ec2a516564d74d5616383178361c2f08fdd7d1202b80bdf66a0d279
ARG NNABLA_EXT=nnabla-ext-cuda102-nccl2-mpi3-1-6==1.28.0

# NVIDIA changed the key of its package sources in 2022, after the older base images were made.
RUN apt-key adv --fetch-keys \
        https://developer.download.nvidia.com/compute/cuda/repos/ubuntu1804/x86_64/3bf863cc.pub \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        --allow-downgrades --allow-change-held-packages \
        build-essential bzip2 ca-certificates curl openssh-client \
        python${PYTHON_VERSION} python${PYTHON_VERSION}-dev python${PYTHON_VERSION}-venv \
        libnccl2=${NCCL_VERSION} libnccl-dev=${NCCL_VERSION} \
    && rm -rf /var/lib/apt/lists/*

# The extension is linked against this very Open MPI, which no package of Ubuntu's has.
RUN curl --fail --location --silent --show-error --output /tmp/openmpi.tar.bz2 \
        https://download.open-mpi.org/release/open-mpi/v3.1/openmpi-${OPENMPI_VERSION}.tar.bz2 \
    && echo "${OPENMPI_SHA256}  /tmp/openmpi.tar.bz2" | sha256sum --check \
    && mkdir /tmp/openmpi && tar --extract --file /tmp/openmpi.tar.bz2 --directory /tmp/openmpi \
        --strip-components 1 \
    && cd /tmp/openmpi \
    && ./configure --prefix=/opt/openmpi --with-cuda --disable-mpi-fortran \
    && make --jobs "$(nproc)" install \
    && rm -rf /tmp/openmpi /tmp/openmpi.tar.bz2

# OMPI_HOME: where NNabla's communicator looks for lib/libmpi.so. The last line: Docker forbids the
# system call behind Open MPI's single-copy transfers, and Open MPI warns of that in every run.
ENV PATH=/opt/venv/bin:/opt/openmpi/bin:$PATH \
    LD_LIBRARY_PATH=/opt/openmpi/lib:$LD_LIBRARY_PATH \
    OMPI_HOME=/opt/openmpi \
    PYTHONUNBUFFERED=1 \
    OFA_DATA=/data \
    OMPI_MCA_btl_vader_single_copy_mechanism=none

# mpi4py is compiled against the Open MPI above. pip 25.0.1 and setuptools 75.3 are Python 3.8's last.
COPY requirements-1.28.txt /tmp/
RUN python${PYTHON_VERSION} -m venv /opt/venv \
    && pip install --no-cache-dir pip==25.0.1 setuptools==75.3.2 wheel==0.45.1 \
    && pip install --no-cache-dir --no-binary mpi4py -r /tmp/requirements-1.28.txt ${NNABLA_EXT}

# Not root: mpirun refuses root, and what a run writes should not be root's. With another user id
# (docker run --user "$(id -u)") the mounted folders only need to be that user's.
RUN useradd --create-home --uid 1000 ofa && mkdir -p /app/runs /data && chown -R ofa /app /data
ENV HOME=/home/ofa
COPY --chown=ofa . /app
# The project as a package: recipes and C sources too; what it needs is there already.
RUN pip install --no-cache-dir --no-deps --no-build-isolation /app \
    && rm -rf /app/build /app/*.egg-info
USER ofa
WORKDIR /app
VOLUME ["/data", "/app/runs"]

CMD ["mpirun", "-n", "4", "python", "runners/train.py", "--search-space", "K357_E0.6+0.8+1_D123"]
