// NVIDIA's driver (libcuda.so.1) without devices: it can be loaded, and says that there are none.
//
// The functions are those that the libraries of PyTorch, vLLM, Triton and FlashInfer bind when they are loaded.
#include <stddef.h>

#define NO_DEVICE 100  // CUDA_ERROR_NO_DEVICE
#define NOT_FOUND 500  // CUDA_ERROR_NOT_FOUND
#define NONE(name) int name(void) { return NO_DEVICE; }

NONE(cuInit) NONE(cuDeviceGet) NONE(cuDeviceGetCount) NONE(cuDeviceGetAttribute)
NONE(cuDevicePrimaryCtxRetain) NONE(cuDevicePrimaryCtxGetState) NONE(cuCtxGetCurrent) NONE(cuCtxSetCurrent)
NONE(cuCtxGetDevice) NONE(cuCtxGetLimit) NONE(cuCtxSetLimit) NONE(cuCtxSynchronize) NONE(cuStreamSynchronize) NONE(cuStreamWriteValue32_v2)
NONE(cuStreamWaitValue32_v2) NONE(cuPointerGetAttribute) NONE(cuTensorMapEncodeTiled) NONE(cuTensorMapEncodeIm2col)
NONE(cuMemAlloc_v2) NONE(cuMemFree_v2) NONE(cuMemcpyHtoD_v2) NONE(cuMemcpyDtoH_v2) NONE(cuMemcpyDtoDAsync_v2)
NONE(cuMemAddressReserve) NONE(cuMemAddressFree) NONE(cuMemCreate) NONE(cuMemRelease) NONE(cuMemMap) NONE(cuMemUnmap)
NONE(cuMemSetAccess) NONE(cuMemGetAllocationGranularity) NONE(cuMemExportToShareableHandle)
NONE(cuMemImportFromShareableHandle) NONE(cuMemGetHandleForAddressRange)
NONE(cuModuleLoad) NONE(cuModuleLoadData) NONE(cuModuleLoadDataEx) NONE(cuModuleUnload) NONE(cuModuleGetFunction)
NONE(cuLibraryLoadData) NONE(cuLibraryGetKernel) NONE(cuLibraryUnload) NONE(cuKernelGetFunction)
NONE(cuLinkCreate_v2) NONE(cuLinkAddData_v2) NONE(cuLinkComplete) NONE(cuLinkDestroy)
NONE(cuFuncGetAttribute) NONE(cuFuncSetAttribute) NONE(cuFuncSetCacheConfig)
NONE(cuLaunchKernel) NONE(cuLaunchKernelEx) NONE(cuLaunchCooperativeKernel)
NONE(cuOccupancyMaxActiveBlocksPerMultiprocessor) NONE(cuOccupancyMaxActiveClusters)
NONE(cuMulticastCreate) NONE(cuMulticastAddDevice) NONE(cuMulticastBindMem) NONE(cuMulticastUnbind)
NONE(cuMulticastGetGranularity) NONE(cuGetProcAddress)

int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    (void)name; (void)version; (void)flags;
    *function = NULL;
    if (status) *status = 1;
    return NOT_FOUND;
}
int cuGetErrorString(int code, const char **text) { (void)code; *text = "no device: the driver is paper"; return 0; }
int cuGetErrorName(int code, const char **text) { (void)code; *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
