/// The rows of one image, channels last: all of them in memory, or the last few in a ring.
struct ImageRows {
    /// `[capacity · width, channels]`
    let values: Matrix
    let height: Int
    let width: Int
    /// Rows that are in memory at a time.
    let capacity: Int

    var channels: Int { values.columns }

    /// - Parameter values: as many rows of the image as there is room for.
    init(_ values: Matrix, height: Int, width: Int) {
        (self.values, self.height, self.width) = (values, height, width)
        capacity = values.rows / max(width, 1)
    }

    /// Image `index` of a batch that is whole in memory.
    init(_ images: Matrix, image index: Int, height: Int, width: Int) {
        self.init(
            images.rows(index * height * width, height * width), height: height, width: width)
    }

    /// The first pixel of row `y`; `nil` outside the image.
    func row(at y: Int) -> UnsafePointer<Float>? {
        (0..<height).contains(y) ? UnsafePointer(self[y]) : nil
    }

    /// The first pixel of row `y`.
    subscript(y: Int) -> UnsafeMutablePointer<Float> { values.row(y % capacity * width) }

    /// Runs of the rows `range` that are next to each other in memory, in order.
    func runs(_ range: Range<Int>) -> [(rows: Range<Int>, values: Matrix)] {
        var (runs, first) = ([(rows: Range<Int>, values: Matrix)](), range.lowerBound)
        while first < range.upperBound {
            let end = min(range.upperBound, (first / capacity + 1) * capacity)
            let count = (end - first) * width
            runs.append((first..<end, values.rows(first % capacity * width, count)))
            first = end
        }
        return runs
    }
}
