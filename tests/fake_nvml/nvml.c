/* A stand-in for NVIDIA's management library, for tests: the cards are read from FAKE_GPUS, as
 * "GPU-a GPU-b/MIG-b1/MIG-b2": words are cards, and what follows a slash is an instance of a card
 * in MIG mode. Only what the program asks for is here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
#define NOT_FOUND 6
#define INVALID 2

struct device { char uuid[64]; int instances; struct device *instance[MOST]; };
struct memory { unsigned version; unsigned long long total, reserved, free, used; };

static struct device *cards[MOST];
static unsigned count;

static struct device *device(const char *uuid) {
    struct device *made = calloc(1, sizeof *made);
    snprintf(made->uuid, sizeof made->uuid, "%s", uuid);
    return made;
}

int nvmlInit_v2(void) {
    const char *given = getenv("FAKE_GPUS");
    char *text = strdup(given ? given : ""), *words = text, *word;
    while ((word = strsep(&words, " ")) && count < MOST) {
        char *name = strsep(&word, "/");
        if (!*name) continue;
        cards[count] = device(name);
        while ((name = strsep(&word, "/"))) cards[count]->instance[cards[count]->instances++] = device(name);
        count++;
    }
    free(text);
    return 0;
}

int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == NOT_FOUND ? "not found" : "error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "590.1"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *found) { *found = count; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **found) {
    if (index >= count) return INVALID;
    *found = cards[index];
    return 0;
}

int nvmlDeviceGetUUID(struct device *of, char *text, unsigned length) {
    snprintf(text, length, "%s", of->uuid);
    return 0;
}

int nvmlDeviceGetName(struct device *of, char *text, unsigned length) {
    (void)of;
    snprintf(text, length, "Toy 100");
    return 0;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *of, struct memory *memory) {
    (void)of;
    memory->total = 1ull << 33;
    return 0;
}

int nvmlDeviceGetMigMode(struct device *of, unsigned *current, unsigned *pending) {
    *current = *pending = of->instances > 0;
    return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *of, unsigned *found) {
    (void)of;
    *found = MOST;
    return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *of, unsigned index, struct device **found) {
    /* Numbers of instances have gaps: they are even here. */
    if (index % 2 || (int)(index / 2) >= of->instances) return NOT_FOUND;
    *found = of->instance[index / 2];
    return 0;
}
