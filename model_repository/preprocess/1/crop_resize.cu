// Crops, resizes and turns upright the decoded images of a whole batch, in one launch.
//
// In: for each image a Crop, which says where its RGB pixels lie on the device and which box of them is wanted.
// Out: its row of pixels, (N, S, S, 3) uint8.
//
// The bytes are, within one level, those of Pillow's Image.resize((S, S), BILINEAR, box=box): a triangle filter, widened by the scale
// where the image shrinks, in 22 bits of fixed point, along the rows first, rounded to 8 bits between the two passes
// (Pillow, src/libImaging/Resample.c: precompute_coeffs, normalize_coeffs_8bpc, ImagingResampleHorizontal_8bpc). They
// are the same bytes where Pillow begins with the rows; Pillow 13 begins with the columns of some upright images.
// Compile with --fmad=false: contracted multiplications round the weights differently.
//
// A block makes one tile of one image. Its threads first work out the tile's filter weights together, each of which
// then serves a whole column or row of the tile. Every loop strides by the threads there are, so that one thread
// alone gives the same bytes: that is how the tests run this file on a CPU.

#define TILE_WIDTH 32
#define TILE_HEIGHT 8
#define PRECISION_BITS 22

// The layout of CROP in gpu_preprocessing.py.
struct Crop {
    unsigned long long pixels;  // device address of (height, width, 3) uint8
    long long pitch;            // bytes from one line to the next
    int width, height;          // of the stored image
    float left, upper, right, lower;  // the box, in pixels of the stored image
    int orientation;            // EXIF, 1 to 8: how the crop is turned upright
    int row;                    // of the output
};

struct Taps {
    int first, count;  // which pixels of the image one pixel of the crop is made of
};

// The weights of one pixel of the crop along one axis; arithmetic and order of it as in precompute_coeffs.
__device__ static Taps filter_weights(int position, float box_start, float box_end, int image_side, int crop_side,
                                      int* weights) {
    double start = box_start;
    double scale = (double)(box_end - box_start) / crop_side;  // a difference of floats, there as here
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double center = start + (position + 0.5) * scale;
    double per_pixel = 1.0 / filter_scale;
    int first = (int)(center - filter_scale + 0.5);
    int end = (int)(center + filter_scale + 0.5);
    if (first < 0) first = 0;
    if (end > image_side) end = image_side;

    double sum = 0.0;
    for (int tap = first; tap < end; ++tap) {
        double distance = (tap - center + 0.5) * per_pixel;
        if (distance < 0.0) distance = -distance;
        sum += distance < 1.0 ? 1.0 - distance : 0.0;
    }
    for (int tap = first; tap < end; ++tap) {
        double distance = (tap - center + 0.5) * per_pixel;
        if (distance < 0.0) distance = -distance;
        double weight = distance < 1.0 ? 1.0 - distance : 0.0;
        if (sum != 0.0) weight /= sum;
        weights[tap - first] = (int)(0.5 + weight * (1 << PRECISION_BITS));
    }
    Taps taps = {first, end - first};
    return taps;
}

__device__ static int byte_from_fixed(int value) {
    value >>= PRECISION_BITS;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

extern __shared__ int tile_weights[];  // (TILE_WIDTH + TILE_HEIGHT, max_taps)

// Grid: (tiles across, tiles down, N).
extern "C" __global__ void crop_resize(const Crop* crops, unsigned char* out, int crop_side, int max_taps) {
    __shared__ Taps columns[TILE_WIDTH];
    __shared__ Taps rows[TILE_HEIGHT];
    const Crop crop = crops[blockIdx.z];
    const int tile_x = blockIdx.x * TILE_WIDTH;
    const int tile_y = blockIdx.y * TILE_HEIGHT;
    const int last = crop_side - 1;

    for (int i = threadIdx.x; i < TILE_WIDTH + TILE_HEIGHT; i += blockDim.x) {
        int* weights = tile_weights + i * max_taps;
        if (i < TILE_WIDTH) {
            if (tile_x + i <= last)
                columns[i] = filter_weights(tile_x + i, crop.left, crop.right, crop.width, crop_side, weights);
        } else if (tile_y + i - TILE_WIDTH <= last) {
            rows[i - TILE_WIDTH] = filter_weights(tile_y + i - TILE_WIDTH, crop.upper, crop.lower, crop.height,
                                                  crop_side, weights);
        }
    }
    __syncthreads();

    for (int i = threadIdx.x; i < TILE_WIDTH * TILE_HEIGHT; i += blockDim.x) {
        const int x = tile_x + i % TILE_WIDTH, y = tile_y + i / TILE_WIDTH;
        if (x > last || y > last) continue;
        const Taps across = columns[i % TILE_WIDTH], down = rows[i / TILE_WIDTH];
        const int* across_weights = tile_weights + (i % TILE_WIDTH) * max_taps;
        const int* down_weights = tile_weights + (TILE_WIDTH + i / TILE_WIDTH) * max_taps;

        const int half = 1 << (PRECISION_BITS - 1);
        int red = half, green = half, blue = half;
        for (int v = 0; v < down.count; ++v) {
            const unsigned char* line =
                (const unsigned char*)crop.pixels + (down.first + v) * crop.pitch + across.first * 3;
            int line_red = half, line_green = half, line_blue = half;
            for (int u = 0; u < across.count; ++u) {
                line_red += line[3 * u] * across_weights[u];
                line_green += line[3 * u + 1] * across_weights[u];
                line_blue += line[3 * u + 2] * across_weights[u];
            }
            red += byte_from_fixed(line_red) * down_weights[v];
            green += byte_from_fixed(line_green) * down_weights[v];
            blue += byte_from_fixed(line_blue) * down_weights[v];
        }

        // Where the stored crop's pixel (x, y) lies in the upright one.
        int upright_x = x, upright_y = y;
        if (crop.orientation >= 5) {
            upright_x = y;
            upright_y = x;
        }
        if (crop.orientation == 2 || crop.orientation == 3 || crop.orientation == 6 || crop.orientation == 7)
            upright_x = last - upright_x;
        if (crop.orientation == 3 || crop.orientation == 4 || crop.orientation == 7 || crop.orientation == 8)
            upright_y = last - upright_y;
        unsigned char* pixel = out + (((long long)crop.row * crop_side + upright_y) * crop_side + upright_x) * 3;
        pixel[0] = byte_from_fixed(red);
        pixel[1] = byte_from_fixed(green);
        pixel[2] = byte_from_fixed(blue);
    }
}
