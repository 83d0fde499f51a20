// A pretend NVIDIA driver, built as libcuda.so.1: it tells what the variables say.
//
// PRETEND_DRIVER_CUDA        the newest CUDA that it serves, 13000 for 13.0
// PRETEND_DRIVER_CARD        the cards' name
// PRETEND_DRIVER_CAPABILITY  their compute capability, 90 for 9.0
#include <cstdio>
#include <cstdlib>

static int number(const char *name, int otherwise) {
    const char *text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}

extern "C" {

int cuDriverGetVersion(int *version) {
    *version = number("PRETEND_DRIVER_CUDA", 13000);
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index;
    return 0;
}

int cuDeviceGetName(char *name, int length, int) {
    const char *card = std::getenv("PRETEND_DRIVER_CARD");
    std::snprintf(name, length, "%s", card ? card : "Pretend GPU");
    return 0;
}

// 75 and 76 are the major and the minor number of the compute capability.
int cuDeviceGetAttribute(int *value, int attribute, int) {
    const int capability = number("PRETEND_DRIVER_CAPABILITY", 90);
    *value = attribute == 75 ? capability / 10 : capability % 10;
    return attribute == 75 || attribute == 76 ? 0 : 1;
}
}
