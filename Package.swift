// swift-tools-version: 6.3
import PackageDescription

/// C kernels are compiled at -O3 in every configuration: the test suite runs whole forwards.
let kernelSettings: [CSetting] = [.unsafeFlags(["-O3", "-ffp-contract=off"])]

/// The canary of the latency gate is frozen, and so are these: CanaryTests pin both.
let canarySettings: [CSetting] = [.unsafeFlags(["-O2", "-ffp-contract=off"])]

/// `make fuzz` builds with libFuzzer's coverage and the address sanitizer.
let isFuzzing = Context.environment["SANA_FUZZ"] != nil
let sanitizers = ["-sanitize=fuzzer,address"]
/// gold cannot read the debug information; lld would drop the coverage counters as unused.
let fuzzLinkerFlags =
    sanitizers + ["-use-ld=lld", "-Xlinker", "-z", "-Xlinker", "nostart-stop-gc"]

/// A newer compiler may warn of more than this one, so that only `make test` and CI ask for it.
let warningSettings: [SwiftSetting] =
    Context.environment["SANA_STRICT"] == nil ? [] : [.treatAllWarnings(as: .error)]

/// The commit for --version, which make passes; not asked of git here, since manifests are cached.
let buildInfoSettings: [CSetting] =
    (Context.environment["SANA_COMMIT"] ?? "")
    .wholeMatch(of: /[0-9a-z-]+/).map { [.define("SANA_COMMIT", to: "\"\($0.0)\"")] } ?? []

/// What `make package` links in place of ICU's whole data.
let dataSettings: [CSetting] =
    Context.environment["SANA_ICU_DATA"].map { [.define("SANA_ICU_DATA", to: "\"\($0)\"")] } ?? []

let swiftSettings: [SwiftSetting] =
    warningSettings + [
        .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release))
    ] + (isFuzzing ? [.unsafeFlags(sanitizers)] : [])

let package = Package(
    name: "sana-tools",
    products: [
        .executable(name: "sana-tools", targets: ["SanaToolsMain"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", exact: "2.1.1"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .target(name: "COpenBLAS", cSettings: [.define("_GNU_SOURCE")]),
        .target(name: "CSanaKernels", cSettings: kernelSettings),
        .target(name: "CSanaCanary", cSettings: canarySettings),
        .target(name: "CBuildInfo", cSettings: buildInfoSettings + dataSettings),
        .target(name: "CEmbeddedFiles"),
        .target(name: "CFileNames"),
        .target(name: "CSignalCleanup"),
        .target(name: "CSQLiteGuard"),
        .target(name: "Libc"),
        .target(
            name: "SanaBase", dependencies: ["CSignalCleanup", "Libc"],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaModel",
            dependencies: [
                "SanaBase", "CSanaCanary", "CSanaKernels", "COpenBLAS", "CSignalCleanup", "Libc",
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaQuant",
            dependencies: [
                "SanaModel", "CFileNames", "CSanaKernels", "CSignalCleanup", "CZstd", "Libc",
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaWorkbench",
            dependencies: [
                "SanaQuant", "SanaModel", "CBuildInfo", "CEmbeddedFiles", "CPNG", "CSignalCleanup",
                "CSQLiteGuard", "Libc",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "Yams", package: "Yams"),
            ],
            exclude: [
                "Capture/capture.py", "Capture/capture_pipeline.py", "Report/Page/report.mustache",
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaTools",
            dependencies: [
                "SanaWorkbench", "SanaQuant", "SanaModel", "CSignalCleanup", "Libc",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "SanaToolsMain", dependencies: ["SanaTools"], swiftSettings: swiftSettings),
        .executableTarget(
            name: "sana-tools-under-test",
            dependencies: [
                "SanaTools", "SanaWorkbench", "SanaModel",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/SanaToolsUnderTest",
            swiftSettings: swiftSettings),
        .target(
            name: "SanaTestSupport",
            dependencies: ["SanaModel", "Libc"],
            path: "Tests/SanaTestSupport",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaBaseTests", dependencies: ["SanaBase", "SanaTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaModelTests",
            dependencies: ["SanaModel", "CSanaKernels", "SanaTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaQuantTests",
            dependencies: ["SanaQuant", "SanaModel", "CFileNames", "CZstd", "SanaTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaWorkbenchTests",
            dependencies: [
                "SanaWorkbench", "SanaQuant", "SanaModel", "SanaTestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaToolsTests",
            dependencies: [
                "SanaTools", "SanaToolsMain", "sana-tools-under-test", "SanaWorkbench",
                "SanaQuant", "SanaModel", "SanaTestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: swiftSettings),
    ]
)

if isFuzzing {
    package.targets += [
        .systemLibrary(name: "CLibFuzzer", path: "Tests/Fuzz/CLibFuzzer"),
        .executableTarget(
            name: "sana-fuzz",
            dependencies: ["CLibFuzzer", "SanaWorkbench", "SanaQuant", "SanaModel"],
            path: "Tests/Fuzz/SanaFuzz",
            swiftSettings: swiftSettings,
            linkerSettings: [.unsafeFlags(fuzzLinkerFlags)]),
    ]
}
