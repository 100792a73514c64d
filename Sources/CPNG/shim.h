#include <png.h>
#include <string.h>

/// A fresh `png_image` of 8-bit rows without gaps; `channels` is 1, 3 or 4.
static inline png_image cpng_image(png_uint_32 width, png_uint_32 height, int channels) {
    png_image image;
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    image.width = width;
    image.height = height;
    image.format = channels == 1 ? PNG_FORMAT_GRAY : channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
    return image;
}

/// What a file of these pixels takes at most.
static inline size_t cpng_maximum_size(png_image image) { return PNG_IMAGE_PNG_SIZE_MAX(image); }
