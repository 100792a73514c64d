import Foundation

/// The Python programs that compute goldens with diffusers.
package enum CaptureScript {
    /// What the interpreter reads: the capture of networks, and after a zero byte that of
    /// pipelines.
    package static func source(ofPipelines: Bool) -> Data {
        Data(PackageResources.capture_py)
            + (ofPipelines ? [0] + Data(PackageResources.capture_pipeline_py) : [])
    }
}
