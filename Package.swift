// swift-tools-version: 6.3
import PackageDescription

/// C kernels are compiled at -O3 in every configuration: the test suite runs whole forwards.
let kernelSettings: [CSetting] = [.unsafeFlags(["-O3", "-ffp-contract=off"])]

let swiftSettings: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

let package = Package(
    name: "sana-tools",
    products: [
        .executable(name: "sana-tools", targets: ["SanaTools"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .target(name: "CSanaKernels", cSettings: kernelSettings),
        .target(
            name: "SanaModel",
            dependencies: [
                "CSanaKernels", "COpenBLAS", .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaQuant",
            dependencies: [
                "SanaModel", "CSanaKernels", "CZstd",
                .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "SanaTools",
            dependencies: [
                "SanaQuant", "SanaModel",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Yams", package: "Yams"),
            ],
            resources: [.embedInCode("Capture/capture.py")],
            swiftSettings: swiftSettings),
        .target(
            name: "SanaTestSupport",
            dependencies: ["SanaModel"],
            path: "Tests/SanaTestSupport",
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaModelTests",
            dependencies: ["SanaModel", "CSanaKernels", "SanaTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaQuantTests",
            dependencies: ["SanaQuant", "SanaModel", "CZstd", "SanaTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SanaToolsTests",
            dependencies: [
                "SanaTools", "SanaQuant", "SanaModel", "SanaTestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: swiftSettings),
    ]
)
