#ifndef SANA_EMBEDDED_FILES_H
#define SANA_EMBEDDED_FILES_H

#include <stddef.h>

/// Bytes of a file of the sources, as the build found it.
///
/// SwiftPM's own `embedInCode` makes each byte an element of a Swift literal, and 68,000 of them
/// part of every build.
typedef struct {
    const void *bytes;
    size_t count;
} sana_embedded_file;

/// SanaWorkbench/Capture/capture.py.
sana_embedded_file sana_capture_script(void);

/// SanaWorkbench/Capture/capture_pipeline.py.
sana_embedded_file sana_capture_pipeline_script(void);

/// SanaWorkbench/Report/Page/report.mustache.
sana_embedded_file sana_report_template(void);

#endif
