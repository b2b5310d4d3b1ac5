"""A graph in place of a landmark network: the source's red and green are its heatmaps, 16x16 for any image size."""

HEATMAPS = """
<ir_version: 8, opset_import: ["": 17]>
landmarks (uint8[N, H, W, 3] image) => (float[N, 2, 16, 16] heatmaps)
<int64[1] start = {0}, int64[1] end = {2}, int64[1] axis = {3}, int64[2] sides = {16, 16}, int64[1] zero = {0},
 int64[1] two = {2}>
{
    pixels = Cast <to = 1> (image)
    colours = Slice (pixels, start, end, axis)
    planes = Transpose <perm = [0, 3, 1, 2]> (colours)
    shape = Shape (planes)
    most = Slice (shape, zero, two)
    sizes = Concat <axis = 0> (most, sides)
    heatmaps = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
               (planes, , , sizes)
}
"""
