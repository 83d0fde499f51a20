// Functions with the names and signatures of NCCL's C interface (nccl.h), for one process: a test of
// what arrives at them. A sum over n ranks is n times the own numbers, a broadcast their negatives.
#include <stddef.h>

typedef struct { char internal[128]; } ncclUniqueId;
struct ncclComm { int ranks, rank, aborted; };
typedef struct ncclComm *ncclComm_t;
typedef int ncclResult_t, ncclDataType_t, ncclRedOp_t;
enum { SUCCESS = 0, INVALID_ARGUMENT = 4, ABORTED = 5, FLOAT32 = 7, FLOAT64 = 8, SUM = 0 };

static struct ncclComm only;

ncclResult_t ncclGetVersion(int *version) {
    *version = 22809;
    return SUCCESS;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    for (int at = 0; at < 128; ++at) {
        id->internal[at] = (char)(at * 3 - 128);
    }
    return SUCCESS;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
    for (int at = 0; at < 128; ++at) {
        if (id.internal[at] != (char)(at * 3 - 128)) {
            return INVALID_ARGUMENT;
        }
    }
    if (ranks != 3 || rank != 2) {
        return INVALID_ARGUMENT;
    }
    only.ranks = ranks;
    only.rank = rank;
    only.aborted = 0;
    *comm = &only;
    return SUCCESS;
}

static ncclResult_t scale(const void *from, void *to, size_t count, ncclDataType_t kind, double factor) {
    for (size_t at = 0; at < count; ++at) {
        if (kind == FLOAT32) {
            ((float *)to)[at] = (float)(((const float *)from)[at] * factor);
        } else if (kind == FLOAT64) {
            ((double *)to)[at] = ((const double *)from)[at] * factor;
        } else {
            return INVALID_ARGUMENT;
        }
    }
    return SUCCESS;
}

static ncclResult_t check(ncclComm_t comm, void *stream) {
    if (comm != &only || stream != NULL) {
        return INVALID_ARGUMENT;
    }
    return comm->aborted ? ABORTED : SUCCESS;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t kind, ncclRedOp_t operation,
                           ncclComm_t comm, void *stream) {
    const ncclResult_t status = operation == SUM ? check(comm, stream) : INVALID_ARGUMENT;
    return status ? status : scale(from, to, count, kind, comm->ranks);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t kind, int root, ncclComm_t comm,
                           void *stream) {
    const ncclResult_t status = root == 0 ? check(comm, stream) : INVALID_ARGUMENT;
    return status ? status : scale(from, to, count, kind, -1);
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->aborted = 1;
    return SUCCESS;
}

const char *ncclGetErrorString(ncclResult_t status) {
    return status == INVALID_ARGUMENT ? "invalid argument" : "aborted by a test";
}
