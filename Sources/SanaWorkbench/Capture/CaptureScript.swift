import CEmbeddedFiles
import Foundation

/// The Python programs that compute goldens with diffusers.
package enum CaptureScript {
    /// What the interpreter reads: the capture of networks, and after a zero byte that of
    /// pipelines.
    package static func source(ofPipelines: Bool) -> Data {
        sana_capture_script().data
            + (ofPipelines ? [0] + sana_capture_pipeline_script().data : [])
    }
}

extension sana_embedded_file {
    /// The file's bytes.
    var data: Data { Data(bytes: bytes, count: count) }
}
