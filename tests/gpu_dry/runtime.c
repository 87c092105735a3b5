// CUDA's runtime without a device: memory is the host's, copies are memcpy, kernels do nothing.
// What torch imports beside these functions succeeds and does nothing (stub_libraries.py).
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "device.h"

static __thread int current = 0;

static cudaError_t allocate(void **memory, size_t size, size_t alignment)
{
    *memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

// Streams and events are only compared and handed back.
static cudaError_t handle(void **made)
{
    *made = malloc(16);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) { *count = DEVICES; return cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { *device = current; return cudaSuccess; }
cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= DEVICES)
        return cudaErrorInvalidDevice;
    current = device;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = CUDART_VERSION; return cudaSuccess; }

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    *value = attribute_of_device(attribute);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *found, int device)
{
    memset(found, 0, sizeof *found);
    strcpy(found->name, NAME);
    memset(found->uuid.bytes, device + 1, sizeof found->uuid.bytes);
    found->pciBusID = device + 1;
    found->totalGlobalMem = MEMORY;
    found->major = attribute_of_device(cudaDevAttrComputeCapabilityMajor);
    found->minor = attribute_of_device(cudaDevAttrComputeCapabilityMinor);
    found->multiProcessorCount = attribute_of_device(cudaDevAttrMultiProcessorCount);
    found->warpSize = attribute_of_device(cudaDevAttrWarpSize);
    found->maxThreadsPerBlock = attribute_of_device(cudaDevAttrMaxThreadsPerBlock);
    found->maxThreadsPerMultiProcessor = attribute_of_device(cudaDevAttrMaxThreadsPerMultiProcessor);
    found->sharedMemPerBlock = attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlock);
    found->sharedMemPerBlockOptin = attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    found->sharedMemPerMultiprocessor =
        attribute_of_device(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
    found->regsPerBlock = attribute_of_device(cudaDevAttrMaxRegistersPerBlock);
    found->regsPerMultiprocessor = attribute_of_device(cudaDevAttrMaxRegistersPerMultiprocessor);
    found->l2CacheSize = attribute_of_device(cudaDevAttrL2CacheSize);
    found->memoryBusWidth = attribute_of_device(cudaDevAttrGlobalMemoryBusWidth);
    for (int axis = 0; axis < 3; axis++) {
        found->maxThreadsDim[axis] = attribute_of_device(cudaDevAttrMaxBlockDimX + axis);
        found->maxGridSize[axis] = attribute_of_device(cudaDevAttrMaxGridDimX + axis);
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *unused, size_t *total)
{
    *unused = FREE_MEMORY;
    *total = MEMORY;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    *can = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device)
{
    snprintf(id, length, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device)
{
    return handle((void **)pool);
}

cudaError_t cudaMalloc(void **memory, size_t size) { return allocate(memory, size, 512); }
cudaError_t cudaMallocAsync(void **memory, size_t size, cudaStream_t stream)
{
    return allocate(memory, size, 512);
}
cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned flags)
{
    return allocate(memory, size, 4096);
}
cudaError_t cudaFree(void *memory) { free(memory); return cudaSuccess; }
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) { free(memory); return cudaSuccess; }
cudaError_t cudaFreeHost(void *memory) { free(memory); return cudaSuccess; }
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind)
{
    memcpy(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(
    void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    memcpy(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(
    void *to, int to_device, const void *from, int from_device, size_t size, cudaStream_t stream)
{
    memcpy(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream)
{
    memset(memory, value, size);
    return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *found, const void *memory)
{
    memset(found, 0, sizeof *found);
    found->type = cudaMemoryTypeUnregistered;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    return handle((void **)stream);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    return handle((void **)stream);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
    cudaGraph_t *graph, const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges,
    size_t *count)
{
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) { return handle((void **)event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    return handle((void **)event);
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    *ms = 1;
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *found, const void *function)
{
    memset(found, 0, sizeof *found);
    found->maxThreadsPerBlock = attribute_of_device(cudaDevAttrMaxThreadsPerBlock);
    found->numRegs = 32;
    found->ptxVersion = found->binaryVersion = 90;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(
    int *blocks, const void *function, int size, size_t shared)
{
    *blocks = 2;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t error) { return "a stub of CUDA failed"; }
const char *cudaGetErrorName(cudaError_t error) { return "cudaErrorOfStub"; }

cudaError_t cudaGetDriverEntryPointByVersion(
    const char *name, void **function, unsigned version, unsigned long long flags,
    enum cudaDriverEntryPointQueryResult *result)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    *function = driver ? dlsym(driver, name) : NULL;
    if (result)
        *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return *function ? cudaSuccess : cudaErrorSymbolNotFound;
}
