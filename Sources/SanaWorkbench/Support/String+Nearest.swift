extension String {
    /// The one of `names` that is written most like this, where it is at most two letters away.
    package func nearest(in names: [String]) -> String? {
        let nearest = names.min { $0.distance(to: self) < $1.distance(to: self) }
        return nearest.flatMap { $0.distance(to: self) <= 2 ? $0 : nil }
    }

    /// Letters to insert, remove or replace (V. Levenshtein 1966), of the first 40.
    private func distance(to other: String) -> Int {
        let (a, b) = (Array(prefix(40)), Array(other.prefix(40)))
        var row = Array(0...b.count)
        for (i, letter) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, its) in b.enumerated() {
                let next = Swift.min(diagonal + (letter == its ? 0 : 1), row[j] + 1, row[j + 1] + 1)
                (diagonal, row[j + 1]) = (row[j + 1], next)
            }
        }
        return row[b.count]
    }
}
