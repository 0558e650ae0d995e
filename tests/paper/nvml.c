// NVIDIA's management library (libnvidia-ml.so.1) for devices that exist only on paper.
//
// The environment variable PAPER_NVML names a text file (otherwise /etc/paper-nvml), read at each nvmlInit: so faults
// come and go while processes run. A line is `KEY VALUE`, or `DEVICE.KEY VALUE` for one device. Without a file there are
// 8 healthy H100s.
//
//   count 2            devices                    driver 580.65.06     version of the driver
//   name, capability   of all devices             total, reserved, free   bytes of memory
//   ecc 3              uncorrected errors         pending 1            pages and rows wait for a reset
//   remap_failed 1     no spare rows              recovery 2           nvmlDeviceGpuRecoveryAction_t
//   mode 3             nvmlComputeMode_t          processes 1          that compute on it
//   mig 2              instances of it            fail:CALL 15         the call returns this code
//   hang:CALL 1        the call never returns     crash:CALL 1         the call ends the process
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 64
#define PARTS 8
typedef struct { int index, part; } device_t;
typedef device_t *handle_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct {
    unsigned field, scope; long long timestamp, latency; unsigned kind, code; unsigned long long value;
} field_t;

static struct { char key[64], value[96]; } lines[256];
static int known;
static device_t devices[MOST][PARTS + 1];

static void load(void) {
    const char *path = getenv("PAPER_NVML");
    FILE *file = fopen(path ? path : "/etc/paper-nvml", "r");
    char line[192];
    known = 0;
    while (file && known < 256 && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %95[^\n]", lines[known].key, lines[known].value) == 2) known++;
    if (file) fclose(file);
}

static const char *find(const char *key) {
    for (int i = 0; i < known; i++) if (!strcmp(lines[i].key, key)) return lines[i].value;
    return NULL;
}

static const char *of(handle_t device, const char *key, const char *otherwise) {
    char full[96];
    snprintf(full, sizeof full, "%d.%s", device->index, key);
    const char *own = find(full), *common = find(key);
    return own ? own : common ? common : otherwise;
}

static unsigned long long number(handle_t device, const char *key, const char *otherwise) {
    return strtoull(of(device, key, otherwise), NULL, 10);
}

static int count(void) { const char *n = find("count"); return n ? atoi(n) : 8; }

// What is to happen in a call: 0 nothing, else its code.
static int gate(const char *call, handle_t device) {
    device_t none = {-1, 0};
    char key[96];
    if (!device) device = &none;
    snprintf(key, sizeof key, "hang:%s", call);
    while (atoi(of(device, key, "0"))) pause();
    snprintf(key, sizeof key, "crash:%s", call);
    if (atoi(of(device, key, "0"))) abort();
    snprintf(key, sizeof key, "fail:%s", call);
    return atoi(of(device, key, "0"));
}
#define GATE(device) do { int code = gate(__func__, device); if (code) return code; } while (0)

int nvmlInit_v2(void) { load(); GATE(NULL); return 0; }
int nvmlInit(void) { return nvmlInit_v2(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) {
    switch (code) {
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 16: return "GPU requires reset";
        case 18: return "Driver/library version mismatch";
        case 999: return "Unknown Error";
        default: return "an error on paper";
    }
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    GATE(NULL);
    const char *driver = find("driver");
    snprintf(text, size, "%s", driver ? driver : "580.65.06");
    return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { GATE(NULL); *n = count(); return 0; }
int nvmlDeviceGetCount(unsigned *n) { return nvmlDeviceGetCount_v2(n); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle_t *device) {
    if ((int)index >= count() || index >= MOST) return 2;
    *device = &devices[index][0];
    (*device)->index = index;
    GATE(*device);
    return 0;
}
int nvmlDeviceGetHandleByIndex(unsigned index, handle_t *device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }
int nvmlDeviceGetHandleByUUID(const char *uuid, handle_t *device) {
    const char *last = strrchr(uuid, '-');
    return nvmlDeviceGetHandleByIndex_v2(last ? atoi(last + 1) : 0, device);
}
int nvmlDeviceGetIndex(handle_t device, unsigned *index) { *index = device->index; return 0; }
int nvmlDeviceGetName(handle_t device, char *text, unsigned size) {
    snprintf(text, size, "%s", of(device, "name", "NVIDIA H100 80GB HBM3"));
    return 0;
}
int nvmlDeviceGetUUID(handle_t device, char *text, unsigned size) {
    GATE(device);
    if (device->part) snprintf(text, size, "MIG-paper-%d-%d", device->index, device->part - 1);
    else snprintf(text, size, "GPU-paper-%d", device->index);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(handle_t device, int *major, int *minor) {
    sscanf(of(device, "capability", "9.0"), "%d.%d", major, minor);
    return 0;
}
int nvmlDeviceGetMemoryInfo(handle_t device, memory_t *memory) {
    GATE(device);
    memory->total = number(device, "total", "85520809984");
    memory->free = number(device, "free", of(device, "total", "85520809984"));
    memory->used = memory->total - memory->free;
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(handle_t device, memory_v2_t *memory) {
    GATE(device);
    if (memory->version != (sizeof *memory | 2u << 24)) return 25;
    memory->total = number(device, "total", "85520809984");
    memory->reserved = number(device, "reserved", "0");
    memory->free = number(device, "free", of(device, "total", "85520809984"));
    memory->used = memory->total - memory->free - memory->reserved;
    return 0;
}
int nvmlDeviceGetComputeMode(handle_t device, unsigned *mode) { GATE(device); *mode = number(device, "mode", "0"); return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(handle_t device, unsigned *n, void *processes) {
    unsigned room = *n;
    (void)processes;
    *n = number(device, "processes", "0");
    return *n > room ? 7 : 0;
}
int nvmlDeviceGetTotalEccErrors(handle_t device, unsigned kind, unsigned counter, unsigned long long *errors) {
    GATE(device);
    *errors = kind == 1 && counter == 0 ? number(device, "ecc", "0") : 0;
    return 0;
}
int nvmlDeviceGetRemappedRows(handle_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    GATE(device);
    *corrected = *uncorrected = 0;
    *pending = number(device, "pending", "0");
    *failed = number(device, "remap_failed", "0");
    return 0;
}
int nvmlDeviceGetRetiredPagesPendingStatus(handle_t device, unsigned *pending) {
    GATE(device);
    *pending = number(device, "pending", "0");
    return 0;
}
int nvmlDeviceGetFieldValues(handle_t device, int n, field_t *fields) {
    GATE(device);
    for (int i = 0; i < n; i++) {
        fields[i].code = fields[i].field == 230 ? 0 : 3;
        fields[i].value = number(device, "recovery", "0");
    }
    return 0;
}
int nvmlDeviceGetMigMode(handle_t device, unsigned *current, unsigned *pending) {
    GATE(device);
    *current = *pending = number(device, "mig", "0") > 0;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(handle_t device, unsigned *n) { (void)device; *n = PARTS - 1; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(handle_t device, unsigned index, handle_t *part) {
    if (index >= number(device, "mig", "0") || index >= PARTS - 1) return 6;
    *part = &devices[device->index][index + 1];
    (*part)->index = device->index;
    (*part)->part = index + 1;
    return 0;
}
int nvmlDeviceGetP2PStatus(handle_t one, handle_t other, unsigned kind, unsigned *status) {
    (void)one; (void)other; (void)kind;
    *status = 0;
    return 0;
}
int nvmlDeviceGetNumaNodeId(handle_t device, unsigned *node) { (void)device; *node = 0; return 0; }
int nvmlDeviceGetCpuAffinity(handle_t device, unsigned size, unsigned long *set) {
    (void)device;
    memset(set, 0, size * sizeof *set);
    set[0] = 1;
    return 0;
}
