import Libc
import SanaModel

/// How sizes by part are shown.
extension [PartSizes] {
    package var json: JSONValue {
        .array(
            map { part in
                .object(
                    [
                        .init("part", .string(part.part.name)),
                        .init("tensors", .int(part.tensors)),
                        .init("parameters", .int(part.parameters)),
                        .init("bytes", .int(part.bytes)),
                    ]
                        + Int8Scheme.allCases.compactMap { scheme in
                            part.forecasts[scheme].map { forecast in
                                .init(
                                    "int8_" + scheme.rawValue,
                                    .fields([
                                        "bytes": .int(forecast.bytes),
                                        "float_bytes": .int(forecast.floatBytes),
                                    ]))
                            }
                        })
            })
    }

    package var table: TextTable {
        let isForecast = contains { !$0.forecasts.isEmpty }
        var table = TextTable(
            [
                ("part", .left), ("tensors", .right), ("parameters", .right), ("bytes", .right),
            ]
                + (isForecast
                    ? [
                        ("as int8", .right), ("kept in float", .right),
                        ("linear-only int8", .right),
                        ("kept in float", .right),
                    ] : []))
        for part in self { table.append(part.row(isForecast: isForecast)) }
        if count > 1 { table.append(total.row(isForecast: isForecast, name: "all")) }
        return table
    }

    private var total: PartSizes {
        var total = PartSizes(part: .other)
        for part in self {
            total.tensors += part.tensors
            total.parameters += part.parameters
            total.bytes += part.bytes
            for (scheme, forecast) in part.forecasts {
                total.forecasts[scheme, default: .init()].bytes += forecast.bytes
                total.forecasts[scheme, default: .init()].floatBytes += forecast.floatBytes
            }
        }
        return total
    }
}

extension PartSizes {
    fileprivate func row(isForecast: Bool, name: String? = nil) -> [String] {
        [
            name ?? part.name, "\(tensors)", Format.count(parameters), Format.bytes(bytes),
        ]
            + (isForecast
                ? Int8Scheme.allCases.flatMap { scheme in
                    let forecast = forecasts[scheme] ?? .init()
                    return [Format.bytes(forecast.bytes), Format.bytes(forecast.floatBytes)]
                } : [])
    }
}

/// How values are shown.
extension ValueScan {
    package var json: JSONValue {
        .array(
            entries.map { entry in
                let values = entry.values
                return .fields([
                    "name": .string(entry.tensor.name),
                    "dtype": .string(entry.tensor.dtype.rawValue), "count": .int(values.count),
                    "min": .finite(values.minimum), "max": .finite(values.maximum),
                    "absmax": values.hasFinite ? .finite(values.absoluteMaximum) : .null,
                    "mean": values.hasFinite ? .double(values.mean) : .null,
                    "std": values.hasFinite ? .double(values.standardDeviation) : .null,
                    "zeros": .int(values.zeroCount), "nan": .int(values.nanCount),
                    "infinite": .int(values.infinityCount),
                    "subnormal": .int(values.subnormalCount),
                    "over_fp16": .int(values.overFP16Count),
                    "under_fp16": .int(values.underFP16Count),
                    "fp16_inexact": .int(values.inexactFP16Count),
                    "histogram": .array(values.histogram.map { .int($0) }),
                ])
            })
    }

    package var table: TextTable {
        var table = TextTable(
            [
                ("tensor", .left), ("dtype", .left), ("min … max", .left), ("min", .right),
                ("max", .right), ("mean", .right), ("std", .right), ("absmax", .right),
                ("zero", .right), ("NaN", .right), ("Inf", .right), ("subnormal", .right),
                ("> fp16", .right), ("< fp16", .right), ("fp16 inexact", .right),
            ],
            optional: [
                "subnormal", "std", "mean", "absmax", "zero", "< fp16", "min … max", "> fp16",
            ])
        for entry in entries {
            let values = entry.values
            func number(_ value: Double) -> String {
                values.hasFinite ? Format.scientific(value) : "–"
            }
            table.append(
                [
                    entry.tensor.name.printable, entry.tensor.dtype.rawValue,
                    Self.sparkline(values.histogram), number(Double(values.minimum)),
                    number(Double(values.maximum)), number(values.mean),
                    number(values.standardDeviation), number(Double(values.absoluteMaximum)),
                ]
                    + [
                        values.zeroCount, values.nanCount, values.infinityCount,
                        values.subnormalCount, values.overFP16Count, values.underFP16Count,
                        values.inexactFP16Count,
                    ].map { $0 == 0 ? "" : Format.count($0) })
        }
        return table
    }

    /// Bars whose height is the logarithm of the number; the lowest for none.
    package static func sparkline(_ counts: [Int]) -> String {
        let bars = Array("▁▂▃▄▅▆▇█")
        guard let most = counts.max(), most > 0 else { return "" }
        return String(
            counts.map { count in
                guard count > 0 else { return bars[0] }
                // One value shows, the most fill the height.
                let share = count == most ? 1 : log2(Double(count + 1)) / log2(Double(most + 1))
                return bars[min(bars.count - 1, 1 + Int(share * Double(bars.count - 2)))]
            })
    }
}

extension JSONValue {
    /// A float in the shortest digits that read back as the same, `null` unless finite.
    fileprivate static func finite(_ value: Float) -> JSONValue {
        value.isFinite ? .number("\(value)") : .null
    }
}
