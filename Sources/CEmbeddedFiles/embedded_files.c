#include "sana_embedded_files.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char capture[] = {
#embed "../SanaWorkbench/Capture/capture.py"
};

static const unsigned char capture_pipeline[] = {
#embed "../SanaWorkbench/Capture/capture_pipeline.py"
};

static const unsigned char report[] = {
#embed "../SanaWorkbench/Report/Page/report.mustache"
};

sana_embedded_file sana_capture_script(void) {
    return (sana_embedded_file){capture, sizeof capture};
}

sana_embedded_file sana_capture_pipeline_script(void) {
    return (sana_embedded_file){capture_pipeline, sizeof capture_pipeline};
}

sana_embedded_file sana_report_template(void) {
    return (sana_embedded_file){report, sizeof report};
}
