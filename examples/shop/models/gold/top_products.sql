-- The ten best sellers of each category.
select *
from (
    select
        category,
        product_id,
        product,
        sum(quantity) as pieces,
        sum(amount_eur) as revenue_eur,
        row_number() over (partition by category order by sum(amount_eur) desc, product_id) as place
    from {{ ref('order_lines') }}
    where status <> 'cancelled' and category is not null
    group by category, product_id, product
)
where place <= 10
